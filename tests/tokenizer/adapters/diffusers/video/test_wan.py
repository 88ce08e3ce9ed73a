"""AutoencoderKLWan: streamed by our interface it is its own whole pass, and nobody sees another's frames."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.tokenizer.adapters.diffusers.video.theirs import (
    WAN_22,
    assert_near,
    clip,
    interleaved,
    pieces,
    streamed,
    tensors_kept,
    wan,
)
from tokenizer.adapters.diffusers import from_diffusers
from tokenizer.layers.causal import Cache
from tokenizer.tiling import TilePlan

KINDS: dict[str, dict[str, Any]] = {"2.1": {}, "2.2": WAN_22}


def whole(theirs: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Their latent as pipelines normalise it, and their picture of it."""
    z = theirs.encode(x).latent_dist.mode()
    mean, std = (
        torch.tensor(theirs.config[f"latents_{name}"]).view(1, -1, 1, 1, 1) for name in ("mean", "std")
    )
    return (z - mean) / std, theirs.decode(z).sample


@pytest.mark.parametrize("kind", KINDS)
def test_random_pieces_are_their_whole_pass(kind: str) -> None:
    theirs = wan(**KINDS[kind])
    ours = from_diffusers(theirs)
    x = clip(13)
    z, x_hat = whole(theirs, x)
    for seed in range(3):
        our_z, our_x_hat = streamed(ours, pieces(x, seed))
        assert_near(our_z, z)
        assert_near(our_x_hat.clamp(-1, 1), x_hat)
    latent = ours.encode(x)
    assert_near(latent.z, z)
    assert_near(ours.decode(latent).clamp(-1, 1), x_hat)


def test_a_picture_is_a_clip_of_one_frame() -> None:
    theirs = wan()
    ours = from_diffusers(theirs)
    x = clip(1)
    z, x_hat = whole(theirs, x)
    latent = ours.encode(x[:, :, 0])
    assert latent.size == (16, 16)
    assert_near(latent.z, z)
    assert_near(ours.decode(latent).clamp(-1, 1), x_hat[:, :, 0])


def test_frames_that_do_not_divide_come_back() -> None:
    ours = from_diffusers(wan())
    x = clip(7, height=18, width=13)
    assert ours.decode(ours.encode(x)).shape == x.shape
    z, x_hat = streamed(ours, pieces(x, 1))
    assert x_hat.shape == x.shape
    assert_near(z, ours.encode(x).z, 1e-5)


def test_two_callers_never_see_each_other_and_nothing_stays() -> None:
    ours = from_diffusers(wan())
    clips = [clip(11, seed=seed) for seed in (1, 2)]
    alone = [streamed(ours, list(x.split(3, dim=2))) for x in clips]
    for (z, x_hat), (expected_z, expected_x_hat) in zip(interleaved(ours, clips, 3), alone, strict=True):
        assert torch.equal(z, expected_z)
        assert torch.equal(x_hat, expected_x_hat)
    assert tensors_kept(ours) == []


def test_the_cache_is_keyed_by_path_and_does_not_grow() -> None:
    ours = from_diffusers(wan())
    cache: Cache = {}
    sizes = []
    for part in clip(33).split(8, dim=2):
        ours.encode(part, cache=cache)
        sizes.append(sum(value.numel() for value in cache.values()))
    paths = {path for path, _ in ours.encoder.network.named_modules()}  # type: ignore[union-attr]
    inside = {key.removeprefix("encoder/layers/") for key in cache if "/layers/" in key}
    assert inside
    assert inside <= paths
    assert sizes[1] == sizes[2] == sizes[3]


def test_tiles_and_pieces_compose() -> None:
    ours = from_diffusers(wan())
    x = clip(9, height=24, width=24)
    plan = TilePlan(16, 8)
    expected = ours.encode(x, tiles=plan).z
    cache: Cache = {}
    found = [ours.encode(part, tiles=plan, cache=cache).z for part in (x[:, :, :5], x[:, :, 5:])]
    assert_near(torch.cat(found, dim=2), expected, 1e-5)


def test_later_frames_leave_earlier_latents_untouched() -> None:
    ours = from_diffusers(wan())
    x = clip(13)
    changed = x.clone()
    changed[:, :, 9:] = 0
    z, other = ours.encode(x).z, ours.encode(changed).z
    assert torch.equal(z[:, :, :3], other[:, :, :3])
    assert not torch.equal(z[:, :, 3], other[:, :, 3])


def test_training_it_is_refused() -> None:
    from tokenizer.adapters.diffusers import diffusers_config

    config = dict(wan().config) | {"_class_name": "AutoencoderKLWan"}
    with pytest.raises(ValueError, match="AutoencoderKLWan runs with diffusers' own layers"):
        diffusers_config(config)


def test_weights_of_another_size_are_refused() -> None:
    theirs = wan()
    nn.Module.__delattr__(theirs, "quant_conv")
    with pytest.raises(ValueError, match="do not fit"):
        from_diffusers(theirs)
