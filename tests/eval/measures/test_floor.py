"""The floor fits its budget, rises with it, and is what its codes say."""

import pytest
import torch
from torch import Tensor

from eval.measures.floor import NOTHING, Floor, FloorCode, enlarge, ladder, pool, quantize, reconstruct
from eval.metrics.psnr import decibels, mean_squared_error


def test_pooling_gives_the_means_of_cells() -> None:
    pictures = torch.randint(0, 256, (2, 3, 12, 12), dtype=torch.uint8)
    means = pictures.double().reshape(2, 3, 4, 3, 4, 3).mean(dim=(3, 5))
    assert torch.allclose(pool(pictures, 4), means, rtol=0, atol=1e-10)
    assert torch.allclose(
        pool(pictures, 1).flatten(1), pictures.double().mean(dim=(2, 3)), rtol=0, atol=1e-10
    )
    assert torch.equal(pool(pictures, 12), pictures.double())


def test_a_pixel_on_a_border_counts_for_both_cells() -> None:
    row = torch.tensor([0, 30, 60], dtype=torch.uint8).expand(1, 3, 3, 3)
    assert torch.allclose(pool(row, 2)[0, 0, 0], torch.tensor([10.0, 50.0], dtype=torch.float64))


@pytest.mark.parametrize("budget", [0, 2, 3, 47, 500, 640, 2048, 8192, 40_000])
def test_what_is_sent_fits_the_budget_and_is_all_that_is_needed(smooth: Tensor, budget: int) -> None:
    code = Floor(smooth).best(budget)
    assert code.bits <= budget
    if code == NOTHING:
        assert budget < 12  # one cell of one bit is black or white, and grey is closer
        assert reconstruct(smooth, code).unique().tolist() == [128]
        return
    codes = quantize(pool(smooth, code.side), code.depth)
    assert codes[0].numel() * code.depth == code.bits
    assert codes.min() >= 0
    assert codes.max() < 2**code.depth
    assert torch.equal(enlarge(codes, code.depth, 32), reconstruct(smooth, code))


def test_psnr_rises_with_the_budget(smooth: Tensor) -> None:
    floor = Floor(smooth)
    values = [floor.psnr(floor.best(budget)) for budget in (0, 3, 12, 48, 200, 600, 2000, 6000, 25_000)]
    assert values == sorted(values)
    assert values[-1] > values[4] + 3 > values[0] + 6


def test_all_bits_give_the_picture_back(smooth: Tensor) -> None:
    code = FloorCode(32, 8)
    assert torch.equal(reconstruct(smooth, code), smooth)
    assert Floor(smooth).best(code.bits) == code


def test_the_best_is_the_best_of_all_that_fit(smooth: Tensor) -> None:
    floor, budget = Floor(smooth), 300
    chosen = floor.best(budget)
    for depth in range(1, 9):
        for side in range(1, 33):
            if 3 * side * side * depth <= budget:
                fake = reconstruct(smooth, FloorCode(side, depth))
                psnr = decibels(mean_squared_error(smooth, fake)).mean()
                assert psnr <= floor.psnr(chosen) + 1e-9


def test_ladders_are_the_same_for_every_budget_and_reach_the_picture() -> None:
    assert ladder(32) == list(range(1, 33))
    long = ladder(256)
    assert long == sorted(set(long))
    assert {1, 2, 64, 128, 256} <= set(long)
    assert len(long) < 100
