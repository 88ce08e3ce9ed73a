"""Paths from a picture to noise, masks of latents and pixels, and pictures brought to a size."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from diffusion.image_to_image import (
    Given,
    batch_of,
    cells,
    composite,
    mask_pixels,
    picture_pixels,
    sample_from,
)
from diffusion.samplers import time_grid


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def given(mask: Tensor | None = None) -> Given:
    return Given(drawn(0, 2, 4, 3, 3), drawn(1, 2, 4, 3, 3), mask)


def test_the_ends_of_the_path_are_the_latent_and_the_noise_to_the_bit() -> None:
    paths = given()
    assert torch.equal(paths.at(torch.zeros(2)), paths.z)
    assert torch.equal(paths.at(torch.ones(2)), paths.eps)
    both = paths.at(torch.tensor([0.25, 1.0]))
    assert torch.allclose(both[0], 0.75 * paths.z[0] + 0.25 * paths.eps[0])
    assert torch.equal(both[1], paths.eps[1])


@pytest.mark.parametrize("sampler", ["euler", "heun"])
@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_outside_of_the_mask_the_latent_stays(sampler: str, strength: float) -> None:
    mask = torch.zeros(2, 1, 3, 3, dtype=torch.bool)
    mask[:, :, 1:] = True
    paths = given(mask)
    calls = []

    def velocity(z_t: Tensor, t: Tensor) -> Tensor:
        starts_a_step = sampler == "euler" or len(calls) % 2 == 0
        calls.append(not starts_a_step or torch.equal(z_t[:, :, 0], paths.at(t)[:, :, 0]))
        return torch.tanh(z_t) + 3.0

    z = sample_from(paths, sampler, velocity, time_grid(5, strength=strength))  # type: ignore[arg-type]
    assert torch.equal(z[:, :, 0], paths.z[:, :, 0])
    assert torch.equal(z, paths.z) is (strength == 0.0)
    assert all(calls)  # every step starts with the known region at its own time
    assert len(calls) == (1 if sampler == "euler" else 2) * {0.0: 0, 0.3: 2, 1.0: 5}[strength]


def test_a_position_is_made_anew_if_any_of_its_pixels_is() -> None:
    mask = torch.zeros(1, 1, 8, 12)
    mask[0, 0, 3, 4] = 0.01
    anew = cells(mask, (2, 3))
    assert anew.shape == (1, 1, 2, 3)
    assert anew.nonzero().tolist() == [[0, 0, 0, 1]]


def test_a_composite_is_exact_where_the_mask_is_0_or_1() -> None:
    x_hat, kept = drawn(0, 1, 3, 1, 3), drawn(1, 1, 3, 1, 3)
    mixed = composite(x_hat, kept, torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 1, 3))
    assert torch.equal(mixed[..., 0], kept[..., 0])
    assert torch.equal(mixed[..., 2], x_hat[..., 2])
    assert torch.allclose(mixed[..., 1], (x_hat + kept)[..., 1] / 2)


def test_a_picture_covers_the_size_and_is_cut_around_its_centre() -> None:
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, 20:40] = (255, 0, 127)
    x = picture_pixels(Image.fromarray(pixels), (10, 10))
    assert x.shape == (1, 3, 10, 10)
    assert torch.allclose(x[0, :, 5, 5], torch.tensor([1.0, -1.0, 127 / 127.5 - 1]))
    middle = picture_pixels(Image.fromarray(pixels[:, 20:40]), (10, 10))
    assert torch.equal(x[..., 2:-2], middle[..., 2:-2])  # scaling mixes in neighbours at the cut


def test_a_mask_is_what_is_transparent_or_white() -> None:
    alpha = np.full((4, 8), 255, np.uint8)
    alpha[:, :4] = 0
    alpha[0, 0] = 51
    grey = 255 - alpha
    with_alpha = Image.fromarray(np.dstack([np.full((4, 8, 3), 90, np.uint8), alpha]))
    expected = torch.from_numpy(grey.astype(np.float32))[None, None] / 255
    assert torch.equal(mask_pixels(with_alpha, (4, 8)), expected)
    assert torch.equal(mask_pixels(Image.fromarray(grey), (4, 8)), expected)
    assert torch.equal(mask_pixels(Image.fromarray(grey).convert("RGB"), (4, 8)), expected)
    half = mask_pixels(Image.fromarray(grey), (2, 4))
    assert half.shape == (1, 1, 2, 4)
    assert torch.equal(half[..., 2:], torch.zeros(1, 1, 2, 2))


def test_one_for_all_or_one_each() -> None:
    picture = Image.new("RGB", (6, 6), (255, 255, 255))
    assert batch_of(picture, (4, 4), 3, picture_pixels).shape == (3, 3, 4, 4)
    assert batch_of([picture] * 2, (4, 4), 2, picture_pixels).shape == (2, 3, 4, 4)
    assert batch_of(torch.zeros(1, 3, 4, 4), (4, 4), 2, picture_pixels).shape == (2, 3, 4, 4)
    with pytest.raises(ValueError, match="3 labels need one picture and mask or 3, got 2"):
        batch_of([picture] * 2, (4, 4), 3, picture_pixels)
    with pytest.raises(ValueError, match=r"size \(4, 4\), got \(6, 6\)"):
        batch_of(torch.zeros(1, 3, 6, 6), (4, 4), 1, picture_pixels)
