"""A tensor as it lies in a body: numbers only when asked for."""

import numpy as np
import pytest

from service.errors import WrongShape
from service.wire import Stored, from_float32
from service.wire.quantised import quantise


def test_floats_are_latents_and_read_as_float32() -> None:
    z = np.linspace(-2, 2, 24, dtype=np.float32).reshape(1, 2, 3, 4)
    for dtype in ("float32", "float16", "bfloat16"):
        stored = Stored(from_float32(z, dtype), dtype)  # type: ignore[arg-type]
        assert stored.is_latent
        assert stored.numbers().dtype == np.float32
        assert np.abs(stored.numbers() - z).max() < 2**-7
    assert Stored(z).numbers() is z  # no copy of what is float32 already


def test_integers_are_latents_with_scale_and_offset_only() -> None:
    quantised = quantise(np.linspace(-2, 2, 24, dtype=np.float32).reshape(1, 2, 3, 4))
    assert not Stored(quantised.codes, "uint8").is_latent
    assert not Stored(quantised.codes, "uint8", quantised.scale).is_latent
    assert Stored(quantised.codes, "uint8", quantised.scale, quantised.offset).is_latent


@pytest.mark.parametrize("count", [1, 3, 6])
def test_one_value_one_a_channel_or_one_a_sample_and_channel(count: int) -> None:
    codes = np.random.default_rng(0).integers(0, 256, (2, 3, 4), dtype=np.uint8)
    scale = np.arange(1, count + 1, dtype=np.float32)
    spread = np.broadcast_to(scale.reshape((1, 1) if count == 1 else (-1, 3)), (2, 3))
    values = Stored(codes, "uint8", scale, np.zeros(1, np.float32)).numbers()
    np.testing.assert_array_equal(values, codes * spread[..., None])


@pytest.mark.parametrize("shape", [(), (6,), (2, 3, 4)])
def test_another_number_of_values_is_refused(shape: tuple[int, ...]) -> None:
    codes, two = np.zeros(shape, np.uint8), np.zeros(4, np.float32)
    with pytest.raises(WrongShape, match="scale holds 4 values"):
        Stored(codes, "uint8", two, two).numbers()


def test_reshaping_keeps_the_rest() -> None:
    values = np.ones(3, np.float32)
    stored = Stored(np.zeros((3, 4), np.uint8), "uint8", values, values).reshaped((1, 3, 4))
    assert (stored.array.shape, stored.dtype, stored.numbers().shape) == ((1, 3, 4), "uint8", (1, 3, 4))
