"""Slopes of grids whose spectrum is known, and sums that merge."""

import math

import pytest
import torch
from torch import Tensor

from eval.errors import NotComputedError
from eval.measures.spectrum import LatentSpectrum, cosines


def of_power(exponent: float, side: int, count: int = 4) -> Tensor:
    """Grids (count, 1, side, side) whose cosine coefficients have exactly power r^exponent, signs at random."""
    place = torch.arange(side, dtype=torch.float64)
    radius = torch.hypot(place[:, None], place[None, :]).round()
    radius[0, 0] = 1.0
    sign = torch.randint(0, 2, (count, side, side), generator=torch.Generator().manual_seed(0)) * 2.0 - 1.0
    matrix = cosines(side)
    return (matrix.T @ (sign * radius.pow(exponent / 2)) @ matrix).unsqueeze(1)


def test_the_transform_is_orthonormal() -> None:
    matrix = cosines(7)
    assert torch.allclose(matrix @ matrix.T, torch.eye(7, dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize("exponent", [0.0, -1.0, -2.0])
def test_the_slope_of_a_known_spectrum(exponent: float) -> None:
    spectrum = LatentSpectrum()
    spectrum.add(of_power(exponent, 16))
    found = spectrum.compute()
    assert found.slope == pytest.approx(exponent, abs=1e-9)
    assert found.frequency[0] == 1 / 32
    assert found.frequency[-1] == 15 / 32
    assert found.power == pytest.approx([float(r) ** exponent for r in range(1, 16)])


def test_noise_is_flat_and_a_ramp_is_not() -> None:
    noise, ramp = LatentSpectrum(), LatentSpectrum()
    noise.add(torch.randn(64, 4, 16, 16, generator=torch.Generator().manual_seed(0)))
    ramp.add(torch.linspace(-1, 1, 16).expand(1, 1, 16, 16))
    assert noise.compute().slope == pytest.approx(0.0, abs=0.1)
    assert ramp.compute().slope < -2
    assert noise.compute().upper_half > 0.5 > 0.05 > ramp.compute().upper_half


def test_grids_need_not_be_square_and_clips_count_by_frame() -> None:
    wide = torch.randn(2, 3, 8, 16, generator=torch.Generator().manual_seed(0))
    spectrum = LatentSpectrum()
    spectrum.add(wide)
    assert len(spectrum.compute().power) == 7
    frames, pictures = LatentSpectrum(), LatentSpectrum()
    clip = torch.randn(2, 3, 5, 8, 8, generator=torch.Generator().manual_seed(0))
    frames.add(clip)
    pictures.add(clip.transpose(1, 2).flatten(0, 1))
    assert frames.compute().power == pytest.approx(pictures.compute().power)


def test_parts_add_up_through_their_state() -> None:
    z = torch.randn(9, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    whole, merged = LatentSpectrum(), LatentSpectrum()
    whole.add(z)
    for batch in z.split(4):
        part = LatentSpectrum()
        part.add(batch)
        merged.merge(part)
    merged.merge(LatentSpectrum())
    assert merged.compute().power == pytest.approx(whole.compute().power, rel=1e-12)
    assert merged.compute().slope == pytest.approx(whole.compute().slope, rel=1e-9)


def test_what_has_no_spectrum() -> None:
    with pytest.raises(NotComputedError, match="at least 4 x 4"):
        LatentSpectrum().add(torch.zeros(1, 1, 2, 8))
    with pytest.raises(ValueError, match="was counted"):
        LatentSpectrum().compute()
    flat = LatentSpectrum()
    flat.add(torch.zeros(1, 1, 8, 8))
    with pytest.raises(ValueError, match="flat"):
        flat.compute()
    other = LatentSpectrum()
    other.add(torch.zeros(1, 1, 4, 4))
    with pytest.raises(ValueError, match="do not add up"):
        flat.merge(other)
    with pytest.raises(ValueError, match="of one grid"):
        flat.add(torch.zeros(1, 1, 4, 4))
    assert not math.isnan(float(flat.state()["power"].sum()))
