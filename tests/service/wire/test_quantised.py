"""8 bits a value: the stated formula, its inverse, and the stated bound on the error."""

import numpy as np
import pytest

from service.wire.quantised import dequantise, quantise


def latent(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


CASES = {
    "normal": latent(3, 4, 7, 5),
    "one position": latent(2, 4, 1, 1),
    "tokens": latent(2, 4, 9),
    "far from zero": 1000 + latent(2, 4, 7, 5),
    "tiny": 1e-30 * latent(2, 4, 7, 5),
    "subnormal": (1e-44 * latent(2, 4, 7, 5)).astype(np.float32),
    "large": 1e4 * latent(2, 4, 7, 5),
    "wide and narrow": latent(2, 4, 7, 5) * np.array([1e-6, 1, 1e3, 0], np.float32)[None, :, None, None],
}


@pytest.mark.parametrize("name", CASES)
def test_error_is_within_the_stated_bound(name: str) -> None:
    z = CASES[name]
    quantised = quantise(z)
    back = dequantise(quantised.codes, quantised.scale, quantised.offset)
    assert (quantised.codes.dtype, back.dtype, back.shape) == (np.uint8, np.float32, z.shape)
    axes = tuple(range(2, z.ndim))
    error = np.abs(back.astype(np.float64) - z).max(axis=axes)
    floor = np.finfo(np.float32).smallest_subnormal * 255  # a step that float32 cannot hold
    assert (error <= quantised.scale / 2 + 2.0**-22 * np.abs(z).max(axis=axes) + floor).all()


def test_codes_follow_the_stated_formula() -> None:
    z = latent(2, 3, 8, 8).astype(np.float64)
    quantised = quantise(z.astype(np.float32))
    low, high = z.min(axis=(2, 3)), z.max(axis=(2, 3))
    np.testing.assert_array_equal(quantised.offset, low.astype(np.float32))
    np.testing.assert_array_equal(quantised.scale, ((high - low) / 255).astype(np.float32))
    steps = (z - low[..., None, None]) / quantised.scale.astype(np.float64)[..., None, None]
    np.testing.assert_array_equal(quantised.codes, np.rint(steps))
    assert quantised.codes.min(axis=(2, 3)).max() == 0
    assert quantised.codes.max(axis=(2, 3)).min() == 255


def test_a_sample_does_not_depend_on_the_others() -> None:
    z = latent(3, 4, 5, 5)
    together, alone = quantise(z), quantise(z[1:2])
    np.testing.assert_array_equal(together.codes[1:2], alone.codes)
    np.testing.assert_array_equal(together.scale[1:2], alone.scale)


def test_a_channel_of_one_value_comes_back_exactly() -> None:
    z = np.full((1, 2, 3, 3), 0.1, np.float32)
    quantised = quantise(z)
    assert quantised.scale.max() == 0
    np.testing.assert_array_equal(dequantise(quantised.codes, quantised.scale, quantised.offset), z)


def test_one_scale_for_all_spreads() -> None:
    codes = np.arange(24, dtype=np.uint8).reshape(1, 2, 3, 4)
    scale, offset = np.array([[0.5]], np.float32), np.array([[1.0, 2.0]], np.float32)
    expected = codes * 0.5 + np.array([1.0, 2.0])[None, :, None, None]
    np.testing.assert_array_equal(dequantise(codes, scale, offset), expected)
