"""npy: parity with numpy both ways, and refusal of everything that is damaged."""

import io

import numpy as np
import pytest

from service.errors import NotATensor, WrongDtype
from service.wire.npy import read_npy, write_npy


def latent(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["f4", "f2", "u1", "u2", "u4", "i8"])
def test_npy_equals_numpy_both_ways(order: str, dtype: str) -> None:
    z = np.array(100 + latent(1, 4, 3, 4), dtype, order=order)
    out = io.BytesIO()
    np.save(out, z)
    np.testing.assert_array_equal(read_npy(out.getvalue()), z)
    np.testing.assert_array_equal(np.load(io.BytesIO(write_npy(z))), z)


@pytest.mark.parametrize(
    "body",
    [
        b"\x93NUMPY",
        b"\x93NUMPY\x09\x00" + bytes(20),
        b"\x93NUMPY\x01\x00\xff\xff{}",
        b"\x93NUMPY\x01\x00\x02\x00[]",
        b"\x93NUMPY\x01\x00\x64\x00" + b"(" * 100,
    ],
)
def test_damaged_files_are_refused(body: bytes) -> None:
    with pytest.raises(NotATensor):
        read_npy(body)


@pytest.mark.parametrize("dtype", ["<f8", ">f4", ">i4", ">u2", "|b1", "<c8", "|O", "<U4"])
def test_npy_of_another_type_is_refused(dtype: str) -> None:
    out = io.BytesIO()
    np.save(out, np.zeros(3).astype(dtype), allow_pickle=True)
    with pytest.raises(WrongDtype, match="float32"):
        read_npy(out.getvalue())


def test_a_lying_shape_allocates_nothing() -> None:
    """2^39 floats are declared; reading must fail by arithmetic, not by memory."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**39},), }}".encode()
    body = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with pytest.raises(NotATensor, match="match"):
        read_npy(body)
