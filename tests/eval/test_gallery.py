"""The page shows the ends and the middle of the order, and nobody twice."""

import pytest
import torch
from torch import Tensor

from eval.gallery import choose, gallery
from eval.wipe import heat


@pytest.mark.parametrize("count", [1, 2, 3, 4, 12])
def test_gallery_shows_nobody_twice(count: int) -> None:
    chosen = choose(list(range(count)), 4)
    shown = [index for group in chosen.values() for index in group]
    assert len(shown) == len(set(shown)) >= min(count, 3)
    assert chosen["Worst by PSNR"][0] == 0
    if count > 1:
        assert chosen["Best"][0] == count - 1


def test_worst_and_best_by_psnr_are_made_once_more() -> None:
    made = []

    def remake(index: int) -> tuple[Tensor, Tensor]:
        made.append(index)
        real = torch.full((3, 4, 4), 100, dtype=torch.uint8)
        return real, real + index

    worst, middle, best = gallery([30.0, 10.0, 20.0], ["a", "b", "c"], remake, 1)
    assert [section.title for section in (worst, middle, best)] == ["Worst by PSNR", "Middle", "Best"]
    assert made == [1, 2, 0]
    (figure,) = worst.figures
    assert figure.caption == "b: 10.00 dB"
    names = ["original", "reconstruction", "error, white from 64 grey levels on"]
    assert [name for name, _ in figure.pictures] == names
    assert figure.wiped
    real = figure.pictures[0][1]
    assert torch.equal(figure.pictures[2][1], heat(real, real + 1))
