"""Rounding, not truncation."""

import numpy as np
import pytest
import torch
from cleanfid.resize import build_resizer
from PIL import Image

from eval.pixels import as_seen, clean_resize, from_uint8, resized, to_uint8

LEVELS = torch.arange(256, dtype=torch.uint8).view(1, 1, 1, 256).expand(1, 3, 2, 256)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_grey_level_survives(dtype: torch.dtype) -> None:
    assert torch.equal(to_uint8(from_uint8(LEVELS).to(dtype)), LEVELS)


def test_truncation_would_lose_a_level() -> None:
    x = from_uint8(LEVELS)
    truncated = ((x + 1) / 2 * 255).to(torch.uint8)
    assert (truncated != LEVELS).float().mean() > 0.1
    assert torch.equal(to_uint8(x), LEVELS)


def test_values_beyond_the_range_are_clamped() -> None:
    x = torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0]).view(1, 1, 1, 5).expand(1, 3, 1, 5)
    assert to_uint8(x)[0, 0, 0].tolist() == [0, 0, 128, 255, 255]


def test_nan_is_an_error() -> None:
    with pytest.raises(ValueError, match="NaN"):
        to_uint8(torch.full((1, 3, 2, 2), float("nan")))


def ramp() -> torch.Tensor:
    return torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).repeat(1, 3, 1, 1)


def test_truncation_darkens_even_originals_in_one_convention_and_not_in_the_other() -> None:
    assert (as_seen(ramp(), "truncate_uint8", "uint8") != ramp()).sum() == 63 * 3
    assert torch.equal(as_seen(ramp(), "truncate_unit_uint8", "uint8"), ramp())
    darker = as_seen(from_uint8(ramp()), "truncate_unit_uint8", "uint8")
    assert 0 < (ramp().int() - darker.int()).sum() == (darker != ramp()).sum()
    assert torch.equal(as_seen(from_uint8(ramp()), "round_uint8", "uint8"), ramp())


def test_domains() -> None:
    x = torch.tensor([-1.5, -0.2, 2.0]).view(1, 3, 1, 1)
    assert as_seen(x, "round_uint8", "float").flatten().tolist() == pytest.approx([-1.5, -0.2, 2.0])
    assert as_seen(x, "round_uint8", "clamped").flatten().tolist() == pytest.approx([-1.0, -0.2, 1.0])
    for quantization in ("round_uint8", "truncate_uint8", "truncate_unit_uint8"):
        assert as_seen(x, quantization, "uint8").flatten()[[0, 2]].tolist() == [0, 255]
        for domain in ("uint8", "clamped", "float"):
            with pytest.raises(ValueError, match="NaN"):
                as_seen(x / 0 * 0, quantization, domain)
    assert torch.equal(as_seen(ramp(), "round_uint8", "float"), from_uint8(ramp()))


@pytest.mark.parametrize("formula", ["127.5 x + 128", "255 x + 0.5"])
def test_the_fields_ways_of_rounding_are_this_one_but_for_exact_halves(formula: str) -> None:
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2.2 - 1.1
    if formula == "127.5 x + 128":
        theirs = (127.5 * x + 128.0).clamp(0, 255).to(torch.uint8)
    else:
        theirs = (255.0 * (x + 1) / 2 + 0.5).clamp(0, 255).to(torch.uint8)
    assert (as_seen(x, "round_uint8", "uint8") != theirs).float().mean() < 1e-4


def photograph(width: int, height: int) -> torch.Tensor:
    draw = np.random.default_rng(0)
    return torch.from_numpy(draw.integers(0, 256, (3, height, width), dtype=np.uint8))


@pytest.mark.parametrize("size", [(40, 40), (600, 410)])
def test_clean_resize_is_clean_fids(size: tuple[int, int]) -> None:
    picture = photograph(*size)
    theirs = build_resizer("clean")(picture.permute(1, 2, 0).numpy())
    made = clean_resize(picture.unsqueeze(0), 299)[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(made, theirs)
    assert np.abs(made - np.round(made)).max() > 0.1  # not rounded


def test_pictures_are_brought_to_a_side_by_pil() -> None:
    picture = photograph(52, 40)
    made = resized(picture.unsqueeze(0), 24)
    theirs = Image.fromarray(picture.permute(1, 2, 0).numpy()).resize((24, 24), Image.Resampling.BILINEAR)
    assert torch.equal(made[0].permute(1, 2, 0), torch.from_numpy(np.array(theirs)))
    square = photograph(24, 24).unsqueeze(0)
    assert resized(square, 24) is square
