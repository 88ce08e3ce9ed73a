"""Laws of tiles: shapes, context, seams, and plans that never meet."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.bottlenecks.identity import Identity
from tokenizer.model import Autoencoder
from tokenizer.spec import LatentSpec
from tokenizer.tiling import TilePlan, starts, tiled_decode, tiled_encode

FACTORS = (8, 16, 32, 64, 128)


class Shrink(nn.Module):
    """The mean of every f x f square: each latent sees its own pixels only."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, self.factor)


class Grow(nn.Module):
    """Every latent becomes an f x f square."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, z: Tensor) -> Tensor:
        return F.interpolate(z, scale_factor=float(self.factor), mode="nearest")


def squares(factor: int) -> Autoencoder:
    spec = LatentSpec.image(3, factor).from_convention(1.0)
    return Autoencoder(Shrink(factor), Identity(3), Grow(factor), spec)


def whole_numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(-8, 9, shape, generator=torch.Generator().manual_seed(seed)).float()


@pytest.mark.parametrize(("tile", "overlap"), [(8, 0), (8, 2), (8, 4), (5, 4), (3, 2), (64, 8)])
@pytest.mark.parametrize("size", [(29, 43), (8, 8), (9, 8), (1, 100), (64, 64)])
def test_tiles_of_the_identity_are_the_identity_bit_for_bit(
    tile: int, overlap: int, size: tuple[int, int]
) -> None:
    """Overlaps that are powers of two and whole numbers make every weight and sum exact."""
    x = whole_numbers(2, 3, *size)
    plan = TilePlan(tile, overlap)
    assert torch.equal(tiled_encode(lambda piece: piece, x, plan, factor=1), x)
    assert torch.equal(tiled_decode(lambda piece: piece, x, plan, factor=1), x)


def test_tiles_of_the_identity_are_the_identity_for_any_overlap() -> None:
    draw = random.Random(0)
    for _ in range(30):
        tile = draw.randint(1, 20)
        plan = TilePlan(tile, draw.randint(0, tile - 1))
        x = torch.randn(1, 2, draw.randint(1, 60), draw.randint(1, 60), dtype=torch.float64)
        result = tiled_encode(lambda piece: piece, x, plan, factor=1)
        torch.testing.assert_close(result, x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("factor", FACTORS)
def test_tiled_shapes_are_untiled_shapes_for_any_size_and_plan(factor: int) -> None:
    """AutoencoderDC's default plan makes 1152 pixels of 1024 at f128; no plan may do that here."""
    model = squares(factor)
    draw = random.Random(factor)
    sizes = [(1024, 1024)] if factor == 128 else []
    sizes += [(draw.randint(1, 6 * factor), draw.randint(1, 6 * factor)) for _ in range(12)]
    for size in sizes:
        tile = draw.randint(1, 5 * factor)
        plan = TilePlan(512, 64) if size == (1024, 1024) else TilePlan(tile, draw.randint(0, tile - 1))
        x = whole_numbers(1, 3, *size)
        whole, tiled = model.encode(x), model.encode(x, tiles=plan)
        assert tiled.z.shape == whole.z.shape
        torch.testing.assert_close(tiled.z, whole.z, rtol=0, atol=1e-5)
        x_hat = model.decode(whole, tiles=plan)
        assert x_hat.shape == x.shape
        torch.testing.assert_close(x_hat, model.decode(whole), rtol=0, atol=1e-5)


@pytest.mark.parametrize("factor", FACTORS)
def test_every_tile_has_full_context(factor: int) -> None:
    seen: list[tuple[int, int]] = []

    def encoder(x: Tensor) -> Tensor:
        seen.append((x.shape[-2], x.shape[-1]))
        return F.avg_pool2d(x, factor)

    plan = TilePlan(tile=3 * factor, overlap=factor)
    tiled_encode(encoder, torch.zeros(1, 3, 8 * factor, 2 * factor), plan, factor=factor)
    assert set(seen) == {
        (3 * factor, 2 * factor)
    }  # whole tiles where there is room, the picture's side otherwise
    assert len(seen) == 4


def test_first_positions_cover_the_picture_with_at_least_the_overlap() -> None:
    for length in range(1, 40):
        for tile in range(1, 12):
            for overlap in range(tile):
                firsts = starts(length, tile, overlap)
                reach = min(tile, length)
                assert firsts[0] == 0
                assert firsts[-1] + reach == length
                steps = [b - a for a, b in zip(firsts, firsts[1:], strict=False)]
                assert all(0 < step <= tile - overlap for step in steps)


def test_a_plan_is_rounded_up_to_the_factor() -> None:
    assert TilePlan(512, 64).in_latents(128) == (4, 1)
    assert TilePlan(512, 128).in_latents(32) == (16, 4)
    assert TilePlan(100, 90).in_latents(64) == (3, 2)
    for factor in FACTORS:
        for tile in (1, 7, 64, 200):
            latents, overlap = TilePlan(tile, tile - 1).in_latents(factor)
            assert latents > overlap >= 0


@pytest.mark.parametrize(("tile", "overlap"), [(0, 0), (8, 8), (8, -1), (4, 9)])
def test_impossible_plans_are_refused(tile: int, overlap: int) -> None:
    with pytest.raises(ValueError, match=f"tile={tile} overlap={overlap}"):
        TilePlan(tile, overlap)


def test_the_blend_is_a_straight_line_between_two_tiles() -> None:
    """Two tiles that disagree by a constant meet in a ramp without a step."""
    answers = iter((0.0, 1.0))
    x = torch.zeros(1, 1, 1, 12)
    blended = tiled_encode(lambda piece: torch.full_like(piece, next(answers)), x, TilePlan(8, 4), factor=1)
    expected = torch.tensor([0, 0, 0, 0, 1 / 8, 3 / 8, 5 / 8, 7 / 8, 1, 1, 1, 1])
    torch.testing.assert_close(blended[0, 0, 0], expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_the_result_has_the_dtype_of_the_input(dtype: torch.dtype) -> None:
    x = whole_numbers(1, 3, 20, 20).to(dtype)
    result = tiled_encode(lambda piece: piece, x, TilePlan(8, 4), factor=1)
    assert result.dtype == dtype
    assert torch.equal(result, x)


def test_frames_ride_along() -> None:
    x = whole_numbers(1, 3, 5, 20, 28)
    assert torch.equal(tiled_encode(lambda piece: piece, x, TilePlan(8, 4), factor=1), x)


class Seeing(nn.Module):
    """Each tile minus its own mean: what a tile gives depends on the plan."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(dim=(-2, -1), keepdim=True)


def test_plans_at_the_same_time_do_not_interfere() -> None:
    model = Autoencoder(Seeing(), Identity(3), Seeing(), LatentSpec.image(3, 1).from_convention(1.0))
    x = torch.randn(1, 3, 60, 70, generator=torch.Generator().manual_seed(0))
    plans = [None, TilePlan(16, 4), TilePlan(24, 8), TilePlan(40, 0)]
    alone = [model.decode(model.encode(x, tiles=plan), tiles=plan) for plan in plans]
    for first in range(len(plans)):
        for second in range(first):
            assert not torch.equal(alone[first], alone[second])
    before = dict(vars(model))
    with ThreadPoolExecutor(4) as pool:
        together = pool.map(lambda plan: model.decode(model.encode(x, tiles=plan), tiles=plan), plans * 8)
        for result, expected in zip(together, alone * 8, strict=True):
            assert torch.equal(result, expected)
    assert dict(vars(model)) == before


def test_a_plan_larger_than_the_picture_changes_nothing() -> None:
    model = Autoencoder(Seeing(), Identity(3), Seeing(), LatentSpec.image(3, 1).from_convention(1.0))
    x = torch.randn(1, 3, 21, 34)
    plan = TilePlan(64, 16)
    assert torch.equal(model.encode(x, tiles=plan).z, model.encode(x).z)
