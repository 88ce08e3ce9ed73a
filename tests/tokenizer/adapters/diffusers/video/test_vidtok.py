"""AutoencoderVidTok: its own results, continuous and in codes, without what its layers would keep."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.tokenizer.adapters.diffusers.video.theirs import (
    assert_near,
    clip,
    pieces,
    streamed,
    tensors_kept,
    vidtok,
)
from tokenizer.adapters.diffusers import from_diffusers
from tokenizer.spec import Latent

FSQ: dict[str, Any] = {"regularizer": "fsq", "z_channels": 4, "double_z": False, "codebook_size": 8**4}
KINDS: dict[str, dict[str, Any]] = {"kl": {}, "fsq": FSQ, "not causal": {"is_causal": False}}


def whole(theirs: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Latent and picture of their pass over a clip whose length divides."""
    found = theirs(x, sample_posterior=False).sample
    return theirs(x, sample_posterior=False, encoder_mode=True), found


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_their_pass(kind: str) -> None:
    theirs = vidtok(**KINDS[kind])
    ours = from_diffusers(theirs)
    x = clip(16 if kind == "not causal" else 17)
    z, x_hat = whole(theirs, x)
    latent = ours.encode(x)
    if kind == "fsq":
        z, indices = z  # type: ignore[misc]  # a pair there
        assert torch.equal(latent.indices["z"], indices.long())
        assert_near(ours.decode(Latent({}, latent.size, "", latent.indices)), x_hat)
    assert_near(latent.z, z)
    assert_near(ours.decode(latent), x_hat)
    assert tensors_kept(ours) == []


@pytest.mark.parametrize("frames", [1, 6])
def test_any_number_of_frames_comes_back_and_pieces_wait_for_the_end(frames: int) -> None:
    ours = from_diffusers(vidtok())
    x = clip(frames)
    latent = ours.encode(x)
    x_hat = ours.decode(latent)
    assert x_hat.shape == x.shape
    z, streamed_x_hat = streamed(ours, pieces(x, 3))
    assert_near(z, latent.z, 1e-5)
    assert_near(streamed_x_hat, x_hat, 1e-5)


def test_its_decoder_looks_ahead_so_that_no_piece_could_be_exact() -> None:
    ours = from_diffusers(vidtok())
    z = ours.encode(clip(9)).z
    changed = z.clone()
    changed[:, :, -1] = 0
    before, after = (ours.decode(Latent({"z": value}, (9, 16, 16)))[:, :, :5] for value in (z, changed))
    assert not torch.equal(before, after)


def test_codes_without_their_quantizer_or_doubled_moments_are_refused() -> None:
    with pytest.raises(ValueError, match="double_z=False cannot be used"):
        from_diffusers(vidtok(double_z=False))
