"""A tokenizer whose token k is pixel row k: closed forms of bits and PSNR at every number of tokens."""

import math

import pytest
import torch
from torch import Tensor, nn

from eval.curve.measuring import CurveMeasure, measure
from tokenizer.bottlenecks.identity import Identity
from tokenizer.model import Autoencoder
from tokenizer.spec import LatentSpec

SIDE = 16
CPU = torch.device("cpu")


class Rows(nn.Module):
    """Token k is pixel row k of the picture."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(2, 3).flatten(1, 2)


class Pixels(nn.Module):
    """Rows that did not arrive are black."""

    def forward(self, z: Tensor, size: tuple[int, ...]) -> Tensor:
        x = z.new_full((len(z), 3, *size), -1.0)
        x[:, :, : z.shape[-1]] = z.view(len(z), 3, size[1], -1).transpose(2, 3)
        return x


def build(low: int = 4) -> Autoencoder:
    channels = 3 * SIDE
    spec = LatentSpec.image(channels, 1, num_tokens=(low, SIDE))
    spec = spec.with_statistics({"z": ([0.0] * channels, [1.0] * channels)})
    return Autoencoder(Rows(), Identity(channels), Pixels(), spec)


def pictures() -> Tensor:
    """Two pictures; in the first the lower half is black already."""
    x = torch.full((2, 3, SIDE, SIDE), 255, dtype=torch.uint8)
    x[0, :, SIDE // 2 :] = 0
    return x


def test_each_count_has_the_bits_of_its_tokens_and_the_error_of_the_rest() -> None:
    curve = measure(
        build(),
        pictures(),
        counts=[4, 8, 12, 16],
        max_counts=16,
        qualities=[40.0],
        shown=[1],
        batch_size=1,
        device=CPU,
    )
    assert [point.tokens for point in curve.points] == [4, 8, 12, 16]
    for point in curve.points:
        assert point.bits_per_value is not None
        assert point.bits_per_pixel == pytest.approx(3 * point.tokens / SIDE * point.bits_per_value)
    both = [
        -10 * math.log10(lost) for lost in (4 / 16, 12 / 16)
    ]  # of four rows: white ones that did not arrive
    assert curve.points[0].psnr == pytest.approx(sum(both) / 2, abs=0.05)
    assert curve.points[-1].psnr > 90
    assert [point.psnr for point in curve.points] == sorted(point.psnr for point in curve.points)
    assert curve.points[-1].patch_frechet == pytest.approx(0.0, abs=1e-6)
    assert {count: tuple(shown.shape) for count, shown in curve.shown.items()} == dict.fromkeys(
        (4, 8, 12, 16), (1, 3, SIDE, SIDE)
    )
    (chosen,) = curve.chosen
    assert (chosen.tokens, chosen.spread, chosen.reached) == (
        12.0,
        (8, 16),
        1.0,
    )  # half a picture, and a whole one
    by_count = {point.tokens: point.bits_per_pixel for point in curve.points}
    assert chosen.bits_per_pixel == pytest.approx((by_count[8] + by_count[16]) / 2)


def test_many_counts_are_thinned_out_and_wrong_ones_refused() -> None:
    work = CurveMeasure(build(low=1), pictures(), 2, CPU)
    assert work.counts(None, 4) == [1, 6, 11, 16]
    assert work.counts(None, 16) == list(range(1, 17))
    assert work.counts([2, 5], 16) == [2, 5]
    with pytest.raises(ValueError, match="1 to 16 tokens, not 17"):
        work.counts([17], 16)


def test_a_tokenizer_of_one_length_has_no_curve() -> None:
    with pytest.raises(ValueError, match="always has 16 tokens"):
        CurveMeasure(build(low=SIDE), pictures(), 2, CPU)
