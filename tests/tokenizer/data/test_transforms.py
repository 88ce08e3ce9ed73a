"""Pixels go to tensors and back without loss; crops are where they should be."""

import numpy as np
import torch
from PIL import Image

from tokenizer.data.transforms import adm_crop, as_bytes, random_crop, resize_short, to_pixels, to_uint8


def test_every_grey_level_survives() -> None:
    """Truncation instead of rounding would move 63 of them."""
    levels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(1, 16, 16, 3)
    assert torch.equal(to_uint8(to_pixels(levels)), levels.permute(0, 3, 1, 2))
    assert float(to_pixels(levels).min()) == -1.0
    assert float(to_pixels(levels).max()) == 1.0


def test_out_of_range_is_clamped() -> None:
    x = torch.tensor([-3.0, 3.0]).view(1, 1, 1, 2).expand(1, 3, 1, 2)
    assert to_uint8(x)[0, 0, 0].tolist() == [0, 255]


def test_adm_crop_is_the_centre() -> None:
    picture = Image.new("RGB", (96, 64), (255, 0, 0))
    picture.paste((0, 255, 0), (16, 0, 80, 64))  # the central square
    assert np.array(adm_crop(picture, 64)).reshape(-1, 3).tolist() == [[0, 255, 0]] * 64 * 64
    assert adm_crop(picture, 32).size == (32, 32)
    assert adm_crop(Image.new("RGB", (5, 300)), 16).size == (16, 16)


def test_halving_uses_the_box_filter() -> None:
    """Rows 0 and 200 alternate: averaged in pairs, not aliased."""
    rows = np.zeros((64, 64, 3), np.uint8)
    rows[::2] = 200
    assert set(np.unique(np.array(resize_short(Image.fromarray(rows), 32)))) == {100}


def test_random_crop_is_a_function_of_its_generator() -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 70, 3), np.uint8))
    crops = [
        as_bytes(
            random_crop(picture, 32, generator=torch.Generator().manual_seed(seed), max_scale=1.5, flip=True)
        )
        for seed in (1, 1, 2)
    ]
    assert tuple(crops[0].shape) == (32, 32, 3)
    assert torch.equal(crops[0], crops[1])
    assert not torch.equal(crops[0], crops[2])


def test_without_scale_and_flip_only_the_place_moves() -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 64, 3), np.uint8))
    whole = np.array(picture)
    for seed in range(5):
        crop = np.array(
            random_crop(picture, 32, generator=torch.Generator().manual_seed(seed), max_scale=1.0, flip=False)
        )
        assert any((whole[:, left : left + 32] == crop).all() for left in range(33))
