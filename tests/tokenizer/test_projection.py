"""A projection to colours is the least squares fit, whatever the latent's scale and however it was batched."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tokenizer.core import checkpoint
from tokenizer.loading import BUNDLED, spec_id_of
from tokenizer.projection import ColourMoments, Projection
from tokenizer.spec import PartSpec

MEAN, STD = (3.0, -40.0, 0.5, 7.0), (2.0, 30.0, 0.1, 11.0)
GENERATOR = Path(__file__).parents[2] / "diffusion" / "bundled" / "demo" / "config.json"
PART = PartSpec(channels=4, spatial_factor=4, mean=MEAN, std=STD)


def drawn(count: int = 6) -> tuple[Tensor, Tensor]:
    """Normalised latents (count, 4, 3, 5) and pixels (count, 3, 12, 20)."""
    chance = torch.Generator().manual_seed(0)
    return torch.randn(count, 4, 3, 5, generator=chance), torch.rand(
        count, 3, 12, 20, generator=chance
    ) * 2 - 1


def raw(z: Tensor) -> Tensor:
    return z * torch.tensor(STD).view(4, 1, 1) + torch.tensor(MEAN).view(4, 1, 1)


def test_it_is_the_least_squares_solution_of_normalised_latents() -> None:
    z, x = drawn()
    moments = ColourMoments(4)
    for part in ([0, 1, 2], [3], [4, 5]):
        moments.add(raw(z[part]), x[part])
    projection = moments.fit(PART)
    rows = torch.cat([z.movedim(1, -1).reshape(-1, 4), torch.ones(6 * 15, 1)], dim=1).double()
    colours = F.avg_pool2d(x, 4).movedim(1, -1).reshape(-1, 3).double()
    solution = torch.linalg.lstsq(rows, colours).solution
    assert torch.allclose(torch.tensor(projection.weights).T.double(), solution[:4], atol=1e-5)
    assert torch.allclose(torch.tensor(projection.bias).double(), solution[4], atol=1e-5)
    left = (rows @ solution - colours).square().sum() / (colours - colours.mean(0)).square().sum()
    assert projection.explained == pytest.approx(1 - float(left), abs=1e-3)


def test_colours_that_are_linear_in_the_latent_come_back_exactly() -> None:
    z, _ = drawn()
    weights, bias = (
        torch.tensor([[0.1, 0, 0, 0.2], [0, 0.3, 0, 0], [0, 0, -0.1, 0]]),
        torch.tensor([0.1, 0, -0.2]),
    )
    colours = torch.einsum("kc,bchw->bkhw", weights, z) + bias.view(3, 1, 1)
    moments = ColourMoments(4)
    moments.add(raw(z), colours.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3))
    projection = moments.fit(PART)
    assert projection.explained == 1.0
    assert torch.allclose(projection.rgb(z), colours, atol=1e-4)
    pixels = projection.pixels(z)
    assert (pixels.dtype, tuple(pixels.shape)) == (torch.uint8, (6, 3, 5, 3))
    expected = ((colours.clamp(-1, 1) + 1) * 127.5).round().movedim(1, -1)
    assert (pixels.float() - expected).abs().max() <= 1


def test_a_channel_that_never_changes_adds_nothing() -> None:
    z, x = drawn()
    z[:, 2] = 0.0
    moments, without = ColourMoments(4), ColourMoments(3)
    moments.add(raw(z), x)
    kept = [0, 1, 3]
    without.add(raw(z)[:, kept], x)
    smaller = without.fit(
        PartSpec(
            channels=3, mean=tuple(MEAN[index] for index in kept), std=tuple(STD[index] for index in kept)
        )
    )
    projection = moments.fit(PART)
    assert torch.allclose(projection.rgb(z), smaller.rgb(z[:, kept]), atol=1e-4)
    assert max(abs(row[2]) for row in projection.weights) < 1e-4


def test_what_does_not_fit_is_refused() -> None:
    projection = Projection(weights=((1.0, 0.0), (0.0, 1.0), (0.0, 0.0)), bias=(0.0, 0.0, 0.0), explained=0.5)
    with pytest.raises(ValueError, match="2 channels, the latent has 4"):
        projection.rgb(drawn()[0])
    with pytest.raises(ValueError, match="same number of channels"):
        Projection.parse({"weights": [[1.0], [1.0, 2.0], [1.0]], "bias": [0, 0, 0], "explained": 0})
    with pytest.raises(ValueError, match="at least one picture"):
        ColourMoments(4).fit(PART)


def test_the_bundled_tokenizer_has_one_and_its_latent_space_is_still_that_of_the_bundled_generator() -> None:
    folder = BUNDLED / "demo"
    checkpoint.verify(folder)
    projection = Projection.parse(checkpoint.read_config(folder)["projection"])
    assert projection.explained > 0.95
    assert spec_id_of(folder) == json.loads(GENERATOR.read_text())["spec_id"]
