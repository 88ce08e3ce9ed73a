"""Answers: the bytes that were asked for, and what must be told beside them."""

import io

import numpy as np
import pytest
from safetensors.numpy import load

from service.errors import InvalidParameter
from service.wire import check_format, read_safetensors, write_indices, write_latent
from tokenizer.spec import LatentSpec

SPEC = LatentSpec.image(32, 8)
PARTS = LatentSpec(parts=tuple(SPEC.z.model_copy(update={"name": name}) for name in ("a", "b")))
Z = np.random.default_rng(0).normal(size=(2, 32, 3, 4)).astype(np.float32)


def test_safetensors_carry_their_metadata() -> None:
    written = write_latent({"z": Z}, {"size": "24,32"}, file_format="safetensors", dtype="float32")
    tensors, metadata = read_safetensors(written.body)
    np.testing.assert_array_equal(tensors["z"], Z)
    assert (metadata, written.headers) == ({"size": "24,32"}, {})
    assert written.media_type == "application/vnd.safetensors"


def test_several_parts_are_written_in_every_type() -> None:
    for dtype in ("float32", "float16", "bfloat16", "uint8"):
        written = write_latent({"a": Z, "b": 2 * Z}, {}, file_format="safetensors", dtype=dtype)  # type: ignore[arg-type]
        tensors = read_safetensors(written.body)[0]
        assert np.abs(tensors["a"] - Z).max() < 0.02
        assert np.abs(tensors["b"] - 2 * Z).max() < 0.04


def test_npy_and_raw_tell_type_shape_and_scales() -> None:
    npy = write_latent({"z": Z}, {}, file_format="npy", dtype="float16")
    assert npy.headers == {"x-tessera-dtype": "float16"}  # a shape would make it raw when it comes back
    np.testing.assert_array_equal(np.load(io.BytesIO(npy.body)), Z.astype(np.float16))
    raw = write_latent({"z": Z}, {}, file_format="raw", dtype="uint8")
    assert raw.headers["x-tessera-shape"] == "2,32,3,4"
    scale = np.array([float(text) for text in raw.headers["x-tessera-scale"].split(",")]).reshape(2, 32, 1, 1)
    offset = np.array([float(text) for text in raw.headers["x-tessera-offset"].split(",")]).reshape(
        2, 32, 1, 1
    )
    back = offset + scale * np.frombuffer(raw.body, np.uint8).reshape(Z.shape)
    assert (np.abs(back - Z) <= scale / 2 + 1e-6).all()


def test_indices_in_every_format() -> None:
    indices = np.arange(12, dtype=np.uint16).reshape(1, 3, 4)
    np.testing.assert_array_equal(load(write_indices(indices, {}, "safetensors").body)["indices"], indices)
    np.testing.assert_array_equal(np.load(io.BytesIO(write_indices(indices, {}, "npy").body)), indices)
    raw = write_indices(indices, {}, "raw")
    assert raw.headers == {"x-tessera-dtype": "uint16", "x-tessera-shape": "1,3,4"}
    assert raw.body == indices.tobytes()


def test_what_headers_cannot_carry_is_refused_before_any_work() -> None:
    check_format(SPEC, "raw", "uint8", 8)
    check_format(SPEC, "safetensors", "uint8", 100)
    check_format(PARTS, "safetensors", "float32", 1)
    with pytest.raises(InvalidParameter, match="288 scales"):
        check_format(SPEC, "raw", "uint8", 9)
    for file_format in ("npy", "raw"):
        with pytest.raises(InvalidParameter, match="several parts"):
            check_format(PARTS, file_format, "float32", 1)
