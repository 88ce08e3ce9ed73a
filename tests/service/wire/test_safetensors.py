"""safetensors: parity with the library both ways, and refusal of everything that is damaged."""

import json

import numpy as np
import pytest
import torch
from safetensors import torch as library
from safetensors.numpy import load, save

from service.errors import NotATensor, WrongDtype, WrongShape
from service.wire import from_float32
from service.wire.safetensors import MAX_HEADER_BYTES, read_safetensors, read_stored, write_safetensors


def latent(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def raw(header: object, data: bytes = b"") -> bytes:
    """A safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype: str = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize("shape", [(1, 4, 3, 4), (4,), (0, 3), ()])
def test_safetensors_equal_the_library_both_ways(shape: tuple[int, ...]) -> None:
    parts, metadata = {"z": latent(*shape), "w": latent(3)}, {"size": "20,30", "spec_id": "é"}
    ours = write_safetensors(parts, metadata)
    theirs = save(parts, metadata)
    for body in (ours, theirs):
        read, found = read_safetensors(body)
        assert found == metadata
        for name, value in parts.items():
            np.testing.assert_array_equal(read[name], value)
            np.testing.assert_array_equal(load(body)[name], value)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_equals_the_library_both_ways(dtype: str) -> None:
    """Written by one and read by the other, bit for bit; torch rounds as we do."""
    z = latent(2, 4, 3, 5)
    theirs = torch.tensor(z).to(getattr(torch, dtype))
    ours = write_safetensors({"z": from_float32(z, dtype)}, {"size": "20,30"}, dtype)  # type: ignore[arg-type]
    read = library.load(ours)["z"]
    assert read.dtype == theirs.dtype
    assert torch.equal(read, theirs)
    tensors, metadata = read_safetensors(library.save({"z": theirs}, {"size": "20,30"}))
    assert metadata == {"size": "20,30"}
    assert tensors["z"].dtype == np.float32
    np.testing.assert_array_equal(tensors["z"], theirs.float().numpy())


def test_quantised_tensors_carry_scale_and_offset() -> None:
    z = latent(2, 4, 3, 5)
    body = write_safetensors({"z": z}, {}, "uint8")
    assert {name: tensor.dtype.name for name, tensor in load(body).items()} == {
        "z": "uint8",
        "z.scale": "float32",
        "z.offset": "float32",
    }
    tensors = read_safetensors(body)[0]
    assert tensors.keys() == {"z"}
    step = load(body)["z.scale"][:, :, None, None]
    assert (np.abs(tensors["z"] - z) <= step / 2 + 1e-6).all()


def test_uint8_without_scale_is_refused() -> None:
    codes, scale = np.zeros((1, 4, 3, 5), np.uint8), np.ones((1, 4), np.float32)
    for tensors in ({"z": codes}, {"z": codes, "z.scale": scale}, {"z": codes, "z.offset": scale}):
        with pytest.raises(WrongDtype, match="z.scale and z.offset"):
            read_safetensors(save(tensors))
    with pytest.raises(WrongDtype, match="as float32 beside it"):
        read_safetensors(save({"z": codes, "z.scale": scale.astype(np.float16), "z.offset": scale}))
    with pytest.raises(WrongShape, match="needs 4, 4 or 1"):
        read_safetensors(save({"z": codes, "z.scale": scale[:, :3], "z.offset": scale}))


def test_scales_of_no_quantised_tensor_are_tensors() -> None:
    tensors = read_safetensors(save({"z": latent(1, 2), "z.scale": latent(2)}))[0]
    assert tensors.keys() == {"z", "z.scale"}


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.bool_])
def test_another_type_is_refused(dtype: type) -> None:
    with pytest.raises(WrongDtype, match="float32"):
        read_safetensors(save({"z": np.zeros((1, 4, 3, 4), dtype)}))


def test_reading_copies_nothing() -> None:
    z = latent(1, 4, 3, 4)
    array = read_stored(save({"z": z}))[0]["z"].array
    assert not array.flags.owndata
    assert not array.flags.writeable


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"\xff" * 64,
        raw(b"{" * 5000),
        raw(b"[" * 60_000),
        raw(b"\xff\xfe"),
        raw([1]),
        raw({}),
        raw({"__metadata__": {"a": "b"}}),
        raw({"z": entry(), "__metadata__": {"a": 1}}, bytes(8)),
        raw({"z": 1}),
        raw({"z": entry(shape="2")}, bytes(8)),
        raw({"z": entry(shape=[2, True])}, bytes(8)),
        raw({"z": entry(shape=[-2])}, bytes(8)),
        raw({"z": entry(shape=[2.0])}, bytes(8)),
        raw({"z": entry(shape=[1] * 7)}, bytes(8)),
        raw({"z": entry(shape=[2**60])}, bytes(8)),
        raw({"z": entry(shape=[2**39, 2**39])}, bytes(8)),
        raw({"z": entry(offsets=[0, 4])}, bytes(8)),
        raw({"z": entry(offsets=[4, 12])}, bytes(12)),
        raw({"z": entry(offsets=[8, 0])}, bytes(8)),
        raw({"z": entry(offsets=[0])}, bytes(8)),
        raw({"z": entry()}, bytes(7)),
        raw({"z": entry()}, bytes(9)),
        raw({"z": entry(), "w": entry()}, bytes(8)),
        raw({"z": entry() | {"extra": 1}}, bytes(8)),
        raw(b'{"z":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"z":{}}', bytes(8)),
        (2**63).to_bytes(8, "little") + b"{}",
        (MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b" " * (MAX_HEADER_BYTES + 100),
    ],
)
def test_damaged_files_are_refused(body: bytes) -> None:
    with pytest.raises(NotATensor):
        read_safetensors(body)


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_written_indices_are_read_by_the_library(dtype: str) -> None:
    indices = np.array([[0, 1, 65535]], dtype)
    body = write_safetensors({"indices": indices}, {"size": "8,24"})
    assert load(body)["indices"].dtype == dtype
    np.testing.assert_array_equal(load(body)["indices"], indices)
    np.testing.assert_array_equal(read_safetensors(body)[0]["indices"], indices)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.bool_])
def test_indices_that_are_no_integers_are_refused(dtype: type) -> None:
    with pytest.raises(WrongDtype, match="uint16 or uint32"):
        read_safetensors(save({"indices": np.zeros((3, 4), dtype)}))
