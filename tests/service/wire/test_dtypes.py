"""Element types: rounding as torch rounds, for every bit pattern."""

import numpy as np
import pytest
import torch

from service.wire.dtypes import FLOAT16_MAX, INTEGERS, LAYOUTS, from_float32, to_float32


def test_every_bfloat16_is_read_as_torch_reads_it() -> None:
    bits = np.arange(2**16, dtype=np.uint16)
    expected = torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(to_float32(bits, "bfloat16"), expected)


def test_bfloat16_rounds_as_torch_does() -> None:
    """Random bit patterns of float32 (subnormals, infinities and NaN among them), and values exactly between two."""
    bits = np.random.default_rng(0).integers(0, 2**32, 200_000, dtype=np.uint32)
    bits = np.concatenate(
        [bits, (bits & np.uint32(0xFFFF0000)) | np.uint32(0x8000), bits | np.uint32(0x7F800000)]
    )
    values = bits.view(np.float32)
    ours = to_float32(from_float32(values, "bfloat16"), "bfloat16")
    theirs = torch.from_numpy(values).to(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(ours, theirs)
    assert np.isnan(ours).sum() == np.isnan(values).sum() > 0


def test_float16_rounds_to_nearest_and_ends() -> None:
    values = np.random.default_rng(0).normal(size=10_000).astype(np.float32)
    np.testing.assert_array_equal(from_float32(values, "float16"), torch.from_numpy(values).half().numpy())
    beyond = from_float32(np.array([1e9, -1e9, 65_519.0], np.float32), "float16")
    assert to_float32(beyond, "float16").tolist() == [FLOAT16_MAX, -FLOAT16_MAX, FLOAT16_MAX]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_what_was_stored_is_stored_again_unchanged(dtype: str) -> None:
    values = np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)
    once = from_float32(values, dtype)  # type: ignore[arg-type]
    assert once.shape == values.shape
    again = from_float32(to_float32(once, dtype), dtype)  # type: ignore[arg-type]
    np.testing.assert_array_equal(once, again)


def test_layouts_are_little_endian_and_named_as_numpy_names_them() -> None:
    assert all(np.dtype(LAYOUTS[name]).name == name for name in INTEGERS)
    assert all(layout[0] in "<|" for layout in LAYOUTS.values())
