"""Seams that do not show, and one that does."""

from collections.abc import Callable

import pytest
from torch import Tensor
from torch.nn import functional as F

from eval.errors import NotComputedError
from eval.measures.seams import SeamError, half_tiles
from tokenizer.model import Autoencoder
from tokenizer.spec import LatentSpec, PartSpec
from tokenizer.tiling import TilePlan

Toy = Callable[..., Autoencoder]


def pooled(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 4)


def enlarged(z: Tensor) -> Tensor:
    return F.interpolate(z, scale_factor=4.0, mode="nearest")


def test_what_sees_its_own_cell_only_has_no_seams(toy: Toy, smooth: Tensor) -> None:
    seams = SeamError(half_tiles(32))
    for batch in smooth.split(4):
        seams.update(toy(pooled, enlarged, 3, 4), batch)
    found = seams.compute()
    assert found.psnr_between > 100
    assert found.psnr_tiled == pytest.approx(found.psnr_whole, abs=1e-6)
    assert found.seam_ratio == pytest.approx(1.0, abs=1e-6)
    assert 0 < found.share < 1


def test_an_error_at_the_border_of_every_tile_shows(toy: Toy, smooth: Tensor) -> None:
    """The decoder spoils the outermost pixels of what it is given: of tiles, those lie in the seams."""

    def spoiled(z: Tensor) -> Tensor:
        x = enlarged(z).clone()
        x[..., :2] += 0.5
        x[..., -2:] -= 0.5
        return x

    seams = SeamError(TilePlan(16, 0))
    seams.update(toy(pooled, spoiled, 3, 4), smooth)
    found = seams.compute()
    assert found.share == pytest.approx(1 - (30 / 32) ** 2)
    assert found.seam_ratio > 1.3
    assert found.psnr_tiled < found.psnr_whole - 1


def test_two_by_two_tiles_cover_the_picture() -> None:
    plan = half_tiles(32)
    assert (plan.tile, plan.overlap) == (20, 8)


def test_what_has_no_tiles(toy: Toy, smooth: Tensor) -> None:
    with pytest.raises(NotComputedError, match="larger than a tile of 32"):
        SeamError(TilePlan(32, 8)).update(toy(pooled, enlarged, 3, 4), smooth)
    tokenizer = toy(pooled, enlarged, 3, 4)
    row = PartSpec(layout="1d", channels=3, num_tokens=64, mean=(0.0,) * 3, std=(1.0,) * 3)
    tokenizer.spec = LatentSpec(parts=(row,))
    with pytest.raises(NotComputedError, match="grid"):
        SeamError(half_tiles(32)).update(tokenizer, smooth)
    with pytest.raises(ValueError, match="no pictures"):
        SeamError(half_tiles(32)).compute()
