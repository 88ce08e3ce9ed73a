"""AutoencoderKLCogVideoX: chunks of 8 frames, the first of 9, as its own pass takes 1 + 8 n."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.tokenizer.adapters.diffusers.video.theirs import (
    assert_near,
    clip,
    cogvideox,
    interleaved,
    pieces,
    streamed,
    tensors_kept,
)
from tokenizer.adapters.diffusers import from_diffusers
from tokenizer.adapters.diffusers.video.cogvideox import keep, tree
from tokenizer.layers.causal import Cache


def whole(theirs: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    z = theirs.encode(x).latent_dist.mode()
    return z * theirs.config.scaling_factor, theirs.decode(z).sample


@pytest.mark.parametrize("frames", [1, 9, 25])
def test_pieces_are_their_whole_pass(frames: int) -> None:
    theirs = cogvideox()
    ours = from_diffusers(theirs)
    x = clip(frames)
    z, x_hat = whole(theirs, x)
    latent = ours.encode(x)
    assert_near(latent.z, z)
    assert_near(ours.decode(latent), x_hat)
    our_z, our_x_hat = streamed(ours, pieces(x, frames))
    assert_near(our_z, z)
    assert_near(our_x_hat, x_hat)


@pytest.mark.parametrize("frames", [2, 5, 13, 15])
def test_any_number_of_frames_comes_back_the_same_in_pieces(frames: int) -> None:
    ours = from_diffusers(cogvideox())
    x = clip(frames)
    latent = ours.encode(x)
    x_hat = ours.decode(latent)
    assert x_hat.shape == x.shape
    z, streamed_x_hat = streamed(ours, pieces(x, frames))
    assert_near(z, latent.z, 1e-5)
    assert_near(streamed_x_hat, x_hat, 1e-5)


def test_two_callers_never_see_each_other_and_nothing_stays() -> None:
    ours = from_diffusers(cogvideox())
    clips = [clip(18, seed=seed) for seed in (1, 2)]
    alone = [streamed(ours, list(x.split(5, dim=2))) for x in clips]
    for (z, x_hat), (expected_z, expected_x_hat) in zip(interleaved(ours, clips, 5), alone, strict=True):
        assert torch.equal(z, expected_z)
        assert torch.equal(x_hat, expected_x_hat)
    assert tensors_kept(ours) == []


def test_a_cache_is_their_tree_without_what_they_never_look_at() -> None:
    one, two = torch.ones(1), torch.ones(2)
    cache: Cache = {}
    keep({"conv_in": one, "up": {"resnet_0": {"conv1": two, "norm1": {"conv_y": one, "conv_b": one}}}}, cache)
    assert cache.keys() == {"conv_in", "up.resnet_0.conv1"}
    assert tree(cache) == {"conv_in": one, "up": {"resnet_0": {"conv1": two}}}
    assert tree({}) is None
    keep({"conv_in": one}, None)
