"""Raw tensors: the elements alone, and a shape that lies costs nothing."""

import numpy as np
import pytest

from service.errors import NotATensor, WrongDtype
from service.wire.dtypes import LAYOUTS
from service.wire.raw import read_raw, write_raw


@pytest.mark.parametrize("dtype", LAYOUTS)
def test_what_was_written_is_read(dtype: str) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(LAYOUTS[dtype])
    body = write_raw(array.transpose(2, 0, 1), dtype)  # any order in memory is written as C order
    assert len(body) == 24 * np.dtype(LAYOUTS[dtype]).itemsize
    np.testing.assert_array_equal(read_raw(body, (4, 2, 3), dtype), array.transpose(2, 0, 1))


def test_reading_copies_nothing() -> None:
    assert not read_raw(bytes(8), (2,), "float32").flags.owndata


@pytest.mark.parametrize("shape", [(3,), (1,), (2**39, 2**39), (0,), (2, 0)])
def test_another_shape_is_refused_by_arithmetic(shape: tuple[int, ...]) -> None:
    with pytest.raises(NotATensor, match="the body has 8"):
        read_raw(bytes(8), shape, "float32")


@pytest.mark.parametrize("dtype", ["float64", "object", "", "O", "<f4", "x" * 1000])
def test_another_type_is_refused(dtype: str) -> None:
    with pytest.raises(WrongDtype, match="send one of float32") as refusal:
        read_raw(bytes(8), (2,), dtype)
    assert len(refusal.value.message) < 300
    with pytest.raises(WrongDtype, match="one of uint8"):
        read_raw(bytes(8), (2,), "float32", ("uint8",))
