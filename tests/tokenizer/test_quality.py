"""Tokens by quality: the fewest that reach it, the most where none does, each picture its own."""

import pytest
import torch
from torch import Tensor, nn

from tokenizer.bottlenecks.identity import Identity
from tokenizer.model import Autoencoder
from tokenizer.quality import encode_to_quality
from tokenizer.spec import LatentSpec

SIDE = 4


class Rows(nn.Module):
    """Token k is pixel row k of the picture."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(2, 3).flatten(1, 2)  # (B, 3 * columns, rows)


class Pixels(nn.Module):
    """Rows that did not arrive are grey."""

    def forward(self, z: Tensor, size: tuple[int, ...]) -> Tensor:
        x = z.new_zeros(len(z), 3, *size)
        x[:, :, : z.shape[-1]] = z.view(len(z), 3, size[1], -1).transpose(2, 3)
        return x


def build(low: int = 1) -> Autoencoder:
    channels = 3 * SIDE
    spec = LatentSpec.image(channels, 1, num_tokens=(low, SIDE))
    spec = spec.with_statistics({"z": ([0.0] * channels, [1.0] * channels)})
    return Autoencoder(Rows(), Identity(channels), Pixels(), spec)


def pictures() -> Tensor:
    """The first row alone is not grey; the first two; all four."""
    x = torch.zeros(3, 3, SIDE, SIDE)
    x[0, :, :1], x[1, :, :2], x[2, :, :4] = 1.0, 1.0, 1.0
    return x


def test_each_picture_takes_the_fewest_tokens_that_reach_the_quality() -> None:
    tokenizer, x = build(), pictures()
    latents = encode_to_quality(tokenizer, x, psnr=40.0)
    assert [latent.z.shape[-1] for latent in latents] == [1, 2, 4]
    for row, latent in enumerate(latents):
        assert latent.size == (SIDE, SIDE)
        assert torch.equal(tokenizer.decode(latent)[0], x[row])


def test_a_lower_quality_takes_no_more_and_an_impossible_one_takes_all() -> None:
    x = pictures()
    low = encode_to_quality(build(), x, psnr=8.0)  # a missing row costs 1 / 16 of 0 dB
    assert [latent.z.shape[-1] for latent in low] == [1, 1, 2]
    most = encode_to_quality(build(), x, psnr=1000.0)
    assert [latent.z.shape[-1] for latent in most] == [4, 4, 4]


def test_only_the_counts_that_are_named_are_tried() -> None:
    latents = encode_to_quality(build(), pictures(), psnr=40.0, counts=[1, 3])
    assert [latent.z.shape[-1] for latent in latents] == [1, 3, 3]
    with pytest.raises(ValueError, match="1 to 4 tokens, not 9"):
        encode_to_quality(build(), pictures(), psnr=1000.0, counts=[1, 9])


def test_a_fixed_row_has_nothing_to_choose() -> None:
    with pytest.raises(ValueError, match="always has 4 tokens"):
        encode_to_quality(build(low=SIDE), pictures(), psnr=30.0)
