"""The patch distance: zero for one set, closed form for a shift of grey, blind to order, sensitive to blur."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from eval.frechet import frechet_distance_of_sets
from eval.measures.patch_frechet import PatchFrechet, patch_frechet, patches


def pictures(count: int, side: int = 32, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 6, 6, generator=generator)
    smooth = F.interpolate(coarse, size=side, mode="bicubic", align_corners=False)
    noisy = smooth + 0.1 * torch.randn(smooth.shape, generator=generator)
    return (100 + 80 * noisy).round().clamp(0, 230).to(torch.uint8)


def test_the_pyramid_goes_down_to_one_patch_a_picture() -> None:
    found = patches(pictures(3, side=64))
    assert {side: tuple(rows.shape) for side, rows in found.items()} == {
        64: (3 * 64, 192),
        32: (3 * 16, 192),
        16: (3 * 4, 192),
        8: (3, 192),
    }
    assert sorted(patches(pictures(2, side=20))) == [8, 20]


def test_a_set_is_no_distance_from_itself_in_any_order() -> None:
    real = pictures(12)
    same = patch_frechet(real, real.flip(0))
    assert same.mean == pytest.approx(0.0, abs=1e-5)


def test_a_shift_of_grey_is_its_square_over_a_patch_at_every_scale() -> None:
    real = pictures(12)
    found = patch_frechet(real, real + 20)
    for side, value in found.scales.items():
        assert value == pytest.approx(192 * (20 / 255) ** 2, rel=1e-3), side


def test_it_is_the_frechet_distance_of_the_patches() -> None:
    real, fake = pictures(40), pictures(30, seed=1)
    found = patch_frechet(real, fake)
    for side, rows in patches(real).items():
        direct = frechet_distance_of_sets(rows.double(), patches(fake)[side].double())
        assert found.scales[side] == pytest.approx(direct, rel=1e-3, abs=1e-5)


def test_batches_do_not_matter_and_blur_shows_at_full_size_most() -> None:
    real, other = pictures(30), pictures(30, seed=1)
    measure = PatchFrechet()
    for batch in torch.split(real, 7):
        measure.update_real(batch)
    for batch in torch.split(other, 4):
        measure.update_fake(batch)
    unblurred = measure.compute()
    assert unblurred.mean == pytest.approx(patch_frechet(real, other).mean, rel=1e-4)
    blurred = F.avg_pool2d(other.float(), 3, stride=1, padding=1, count_include_pad=False).to(torch.uint8)
    found = patch_frechet(real, blurred)
    assert found.scales[32] > 1.2 * unblurred.scales[32]


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="squares"):
        patches(torch.zeros(2, 3, 16, 32, dtype=torch.uint8))
    with pytest.raises(ValueError, match="at least 8 pixels"):
        patches(torch.zeros(2, 3, 4, 4, dtype=torch.uint8))
    with pytest.raises(ValueError, match="at least two pictures"):
        patch_frechet(pictures(1), pictures(4))
    with pytest.raises(ValueError, match="the sets have scales"):
        patch_frechet(pictures(4), pictures(4, side=64))
