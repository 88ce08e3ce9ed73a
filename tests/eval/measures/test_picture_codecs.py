"""Files stay within their budget, whole; a larger budget is never worse."""

import pytest
import torch
from torch import Tensor

from eval.measures.picture_codecs import CODECS, CodecName, CodecSearch
from eval.metrics.psnr import decibels, mean_squared_error


@pytest.mark.parametrize("name", CODECS)
def test_the_quality_found_is_the_highest_within_the_budget(name: CodecName, smooth: Tensor) -> None:
    codec, search = CODECS[name], CodecSearch(CODECS[name], smooth)
    smallest = search.mean_bits(codec.lowest)
    for budget in (smallest, 1.2 * smallest, 2 * smallest):
        quality = search.best(budget)
        assert quality is not None
        files = [codec.encode(picture, quality) for picture in smooth]
        assert sum(8 * len(file) for file in files) / len(files) <= budget
        assert quality == 100 or search.mean_bits(quality + 1) > budget


@pytest.mark.parametrize("name", CODECS)
def test_a_budget_below_the_smallest_file_has_no_quality(name: CodecName, smooth: Tensor) -> None:
    search = CodecSearch(CODECS[name], smooth)
    assert search.best(search.mean_bits(CODECS[name].lowest) - 0.5) is None
    assert search.best(1e9) == 100


@pytest.mark.parametrize("name", CODECS)
def test_more_bits_give_better_pictures(name: CodecName, smooth: Tensor) -> None:
    search = CodecSearch(CODECS[name], smooth)
    coded = [search.at(quality) for quality in (5, 50, 95)]
    psnr = [float(decibels(mean_squared_error(smooth, item.pictures)).mean()) for item in coded]
    assert psnr == sorted(psnr)
    assert psnr[2] > psnr[0] + 5
    assert [item.mean_bits for item in coded] == sorted(item.mean_bits for item in coded)


def test_headers_are_counted() -> None:
    """A flat picture says nothing, and its file is all header."""
    flat = torch.full((3, 64, 64), 128, dtype=torch.uint8)
    assert CodecSearch(CODECS["jpeg"], [flat]).mean_bits(1) > 8 * 250
    assert CodecSearch(CODECS["webp"], [flat]).mean_bits(0) > 8 * 20


def test_pictures_come_back_with_their_shape() -> None:
    odd = torch.randint(0, 256, (3, 17, 23), dtype=torch.uint8)
    for codec in CODECS.values():
        assert codec.decode(codec.encode(odd, 80)).shape == odd.shape
