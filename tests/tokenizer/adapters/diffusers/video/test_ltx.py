"""AutoencoderKLLTXVideo: whole clips, the statistics of its weights file, and a decoder asked for time 0."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.tokenizer.adapters.diffusers.video.theirs import (
    assert_near,
    clip,
    ltx,
    pieces,
    streamed,
    tensors_kept,
)
from tokenizer.adapters.diffusers import from_diffusers
from tokenizer.diffusers_spec import spec_of
from tokenizer.loading import load


def whole(theirs: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    z = theirs.encode(x).latent_dist.mode()
    time = torch.zeros(len(x)) if theirs.config.timestep_conditioning else None
    mean, std = (value.view(1, -1, 1, 1, 1) for value in (theirs.latents_mean, theirs.latents_std))
    return (z - mean) * theirs.config.scaling_factor / std, theirs.decode(z, time).sample


# Where widths change, their conditioned decoder fails by itself: it asks for a time before it is embedded.
TIMED: dict[str, Any] = {
    "timestep_conditioning": True,
    "scaling_factor": 0.5,
    "decoder_block_out_channels": (8, 8),
}


@pytest.mark.parametrize("changes", [{}, TIMED], ids=["plain", "timed"])
def test_it_is_their_pass_in_pieces_too(changes: dict[str, Any]) -> None:
    theirs = ltx(**changes)
    ours = from_diffusers(theirs)
    x = clip(9)
    z, x_hat = whole(theirs, x)
    latent = ours.encode(x)
    assert_near(latent.z, z)
    assert_near(ours.decode(latent), x_hat)
    our_z, our_x_hat = streamed(ours, pieces(x, 0))
    assert_near(our_z, z)
    assert_near(our_x_hat, x_hat)
    assert tensors_kept(ours) == []


def test_a_picture_comes_back() -> None:
    ours = from_diffusers(ltx())
    x = clip(1)[:, :, 0]
    assert ours.decode(ours.encode(x)).shape == x.shape


def test_a_folder_has_its_statistics_in_the_weights(tmp_path: Path) -> None:
    theirs = ltx()
    config = dict(theirs.config) | {"_class_name": "AutoencoderKLLTXVideo"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    weights = tmp_path / "diffusion_pytorch_model.safetensors"
    save_file(dict(theirs.state_dict()), weights)
    ours = load(tmp_path)
    assert ours.spec_id
    assert ours.spec == spec_of(config, weights)
    assert ours.spec.z.std == (0.5, 1.0, 2.0, 1.5)
    with pytest.raises(ValueError, match="keeps latents_mean and latents_std in its weights"):
        spec_of(config)


def test_noise_that_no_caller_owns_is_refused() -> None:
    with pytest.raises(ValueError, match="decoder_inject_noise"):
        from_diffusers(ltx(decoder_inject_noise=(True, False, False)))
