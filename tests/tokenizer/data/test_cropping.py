"""Windows of any aspect, cut where they were asked for."""

import numpy as np
import pytest
from PIL import Image

from tokenizer.data.cropping import cover_size, cut_window, resize_cover
from tokenizer.data.transforms import resize_short


def ramp(height: int, width: int) -> Image.Image:
    """Red tells the column, green the row."""
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    return Image.fromarray(np.stack([columns, rows, rows * 0], axis=-1).astype(np.uint8))


@pytest.mark.parametrize("size", [(32, 32), (20, 60), (60, 20), (97, 33)])
def test_covers_and_no_more(size: tuple[int, int]) -> None:
    for image in (ramp(100, 80), ramp(30, 200), ramp(10, 10)):
        covered = resize_cover(image, size)
        assert covered.height >= size[0]
        assert covered.width >= size[1]
        assert covered.height == size[0] or covered.width == size[1]


def test_a_square_is_covered_as_everywhere() -> None:
    for image in (ramp(100, 80), ramp(30, 200)):
        assert np.array_equal(resize_cover(image, (24, 24)), resize_short(image, 24))


def test_a_window_is_cut_where_it_was_asked_for() -> None:
    image = ramp(40, 50)
    corner = np.asarray(cut_window(image, (10, 20), scale=1.0, across=0.0, down=0.0, mirrored=False))
    assert corner.shape == (10, 20, 3)
    assert np.array_equal(corner, np.asarray(image)[:10, :20])
    last = np.asarray(cut_window(image, (10, 20), scale=1.0, across=1.0, down=1.0, mirrored=True))
    assert np.array_equal(last, np.asarray(image)[30:, 30:][:, ::-1])
    wide = np.asarray(cut_window(image, (10, 20), scale=2.0, across=0.5, down=0.5, mirrored=False))
    assert np.abs(wide[:, 3:-3, 0].astype(float) - (5.5 + 2 * np.arange(3, 17))).max() <= 1
    assert np.abs(wide[3:-3, :, 1].astype(float) - (10.5 + 2 * np.arange(3, 7)[:, None])).max() <= 1


def test_room_is_rounded_up() -> None:
    assert cover_size((64, 33), 1.25) == (80, 42)
