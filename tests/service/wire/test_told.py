"""Numbers in headers come back to the last bit."""

import numpy as np
import pytest

from service.errors import WrongShape
from service.wire.told import MAX_VALUES, read_values, write_values


def test_every_float32_comes_back_exactly() -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, 50_000, dtype=np.uint32)
    values = bits.view(np.float32)
    values = values[np.isfinite(values)]
    for some in np.array_split(values, len(values) // 200):
        back = read_values({"x-tessera-scale": write_values(some)}, "x-tessera-scale")
        np.testing.assert_array_equal(back, some)


def test_as_many_as_are_written_fit_into_a_header() -> None:
    widest = np.full(MAX_VALUES, -1.1754944e-38, np.float32)
    assert len(write_values(widest)) <= 4096
    assert read_values({"a": write_values(widest)}, "a") is not None


def test_nothing_told_is_none() -> None:
    assert read_values({}, "x-tessera-scale") is None


@pytest.mark.parametrize("text", ["", "a", "1,,2", "1;2", ",".join("1" * (MAX_VALUES + 1))])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(WrongShape, match="numbers"):
        read_values({"x-tessera-scale": text}, "x-tessera-scale")
