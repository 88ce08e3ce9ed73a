"""Sizes and shapes as text, there and back, and nothing else."""

import pytest

from service.errors import WrongShape
from service.wire.sizes import is_shape, read_shape, read_size, write_size


def test_sizes_come_back() -> None:
    assert read_size("480,640") == (480, 640) == read_size(write_size((480, 640)))
    assert read_size("17,480,640") == (17, 480, 640)
    assert read_shape("1, 32,16,16") == (1, 32, 16, 16)
    assert read_shape("7") == (7,)
    assert read_shape("0,3") == (0, 3)


@pytest.mark.parametrize(
    "text",
    ["", "20", "20,30,40,50", "0,30", "0,30,40", "20x30", "-1,30", "\u00b2,30", "1e9,30", "9" * 5000 + ",1"],
)
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(WrongShape, match="height,width"):
        read_size(text)


@pytest.mark.parametrize(
    "text", ["", "1,,2", "1,2,3,4,5,6,7", "-1", "1.0", "9" * 5000, f"{2**40},1", "[1, 2]"]
)
def test_other_shapes_are_refused(text: str) -> None:
    with pytest.raises(WrongShape, match="whole numbers"):
        read_shape(text)


def test_sides_are_whole_and_sensible() -> None:
    assert is_shape((0, 1, 2**40 - 1))
    assert not any(is_shape((side,)) for side in (True, 1.0, -1, 2**40, "1"))
