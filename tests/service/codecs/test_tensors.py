"""Pictures as numbers: uint8, one or several, as npy or alone."""

import numpy as np
import pytest

from service import codecs, wire
from service.errors import NotATensor, TooManyPixels, WrongDtype, WrongShape
from tests.service.conftest import as_file, picture

LIMIT = 1000


def test_one_or_several_in_either_form() -> None:
    pixels = np.stack([picture(6, 4, seed) for seed in range(3)])
    for array in (pixels, pixels[0]):
        shape = ",".join(str(side) for side in array.shape)
        for body, headers in ((wire.write_npy(array), {}), (array.tobytes(), {"x-tessera-shape": shape})):
            read = codecs.read_pixels(body, headers, LIMIT)
            assert read is not None
            np.testing.assert_array_equal(read, array.reshape(-1, 6, 4, 3))
            assert not read.flags.owndata


def test_picture_files_are_none() -> None:
    assert codecs.read_pixels(as_file(picture(6, 4)), {}, LIMIT) is None


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 4), (1, 1, 6, 4, 3), (0, 6, 4, 3), (72,), (0, 4, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(WrongShape, match="height, width, 3"):
        codecs.read_pixels(wire.write_npy(np.zeros(shape, np.uint8)), {}, LIMIT)


def test_other_types_are_refused() -> None:
    pixels = picture(6, 4)
    with pytest.raises(WrongDtype, match="float32: send pixels as uint8"):
        codecs.read_pixels(wire.write_npy(pixels.astype(np.float32)), {}, LIMIT)
    with pytest.raises(WrongDtype, match="uint8"):
        codecs.read_pixels(bytes(72), {"x-tessera-shape": "6,4,3", "x-tessera-dtype": "float32"}, LIMIT)


def test_all_pictures_count_together() -> None:
    assert codecs.read_pixels(wire.write_npy(np.zeros((10, 10, 10, 3), np.uint8)), {}, LIMIT) is not None
    with pytest.raises(TooManyPixels, match="11 pictures of 10x10"):
        codecs.read_pixels(wire.write_npy(np.zeros((11, 10, 10, 3), np.uint8)), {}, LIMIT)


def test_a_shape_that_lies_is_refused() -> None:
    with pytest.raises(NotATensor, match="the body has 72"):
        codecs.read_pixels(bytes(72), {"x-tessera-shape": "60000,40000,3"}, LIMIT)
