"""Latents as bytes: round trips, parity with the libraries, and refusal of everything else."""

import io
import json
import math
import random

import numpy as np
import pytest
from safetensors.numpy import load, save

from service import wire
from service.errors import (
    IndexOutOfRange,
    MissingMetadata,
    NoIndices,
    NotATensor,
    NotFinite,
    ServiceError,
    TooManyPixels,
    WrongDtype,
    WrongShape,
    WrongSpec,
)
from service.wire import WireLatent
from tokenizer.spec import LatentSpec

SPEC = LatentSpec.image(4, 8)
SPEC_ID = "0123456789abcdef"
LIMITS = {"max_pixels": 10_000, "max_batch": 2}


def latent(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def check(z: np.ndarray, size: str | None = "20,30", spec_id: str | None = SPEC_ID) -> wire.CheckedLatent:
    return wire.check(WireLatent({"z": z}, size, spec_id), SPEC, SPEC_ID, **LIMITS)


def raw(header: object, data: bytes = b"") -> bytes:
    """A safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype: str = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize("shape", [(1, 4, 3, 4), (4,), (0, 3), ()])
def test_safetensors_equal_the_library_both_ways(shape: tuple[int, ...]) -> None:
    parts, metadata = {"z": latent(*shape), "w": latent(3)}, {"size": "20,30", "spec_id": "é"}
    ours = wire.write_safetensors(parts, metadata)
    theirs = save(parts, metadata)
    for body in (ours, theirs):
        read, found = wire.read_safetensors(body)
        assert found == metadata
        for name, value in parts.items():
            np.testing.assert_array_equal(read[name], value)
            np.testing.assert_array_equal(load(body)[name], value)


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_equals_numpy_both_ways(order: str) -> None:
    z = np.array(latent(1, 4, 3, 4), order=order)
    out = io.BytesIO()
    np.save(out, z)
    np.testing.assert_array_equal(wire.read_npy(out.getvalue()), z)
    np.testing.assert_array_equal(np.load(io.BytesIO(wire.write_npy(z))), z)


def test_format_is_told_by_the_first_bytes() -> None:
    z = latent(1, 4, 3, 4)
    headers = {"x-tessera-size": "20,30", "x-tessera-spec": SPEC_ID}
    npy = wire.read_latent(wire.write_npy(z), headers)
    tensors = wire.read_latent(wire.write_safetensors({"z": z}, {"size": "20,30", "spec_id": SPEC_ID}), {})
    for read in (npy, tensors):
        assert (read.size, read.spec_id) == ("20,30", SPEC_ID)
        np.testing.assert_array_equal(read.parts["z"], z)


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
        (wire.MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b" " * (wire.MAX_HEADER_BYTES + 100),
        b"\x93NUMPY",
        b"\x93NUMPY\x09\x00" + bytes(20),
        b"\x93NUMPY\x01\x00\xff\xff{}",
        b"\x93NUMPY\x01\x00\x02\x00[]",
        b"\x93NUMPY\x01\x00\x64\x00" + b"(" * 100,
    ],
)
def test_damaged_tensors_are_refused(body: bytes) -> None:
    with pytest.raises(NotATensor):
        wire.read_latent(body, {})


@pytest.mark.parametrize("dtype", ["<f8", "<f2", ">f4", ">i4", ">u2", "|b1", "<c8", "|O", "<U4"])
def test_npy_of_another_type_is_refused(dtype: str) -> None:
    out = io.BytesIO()
    np.save(out, np.zeros(3).astype(dtype), allow_pickle=True)
    with pytest.raises(WrongDtype, match="float32"):
        wire.read_npy(out.getvalue())


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int32])
def test_safetensors_of_another_type_is_refused(dtype: type) -> None:
    with pytest.raises(WrongDtype, match="float32"):
        wire.read_safetensors(save({"z": np.zeros((1, 4, 3, 4), dtype)}))


def test_a_lying_shape_allocates_nothing() -> None:
    """2^39 floats are declared; reading must fail by arithmetic, not by memory."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**39},), }}".encode()
    body = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with pytest.raises(NotATensor, match="match"):
        wire.read_npy(body)


def test_a_fitting_latent_gets_a_batch_axis() -> None:
    for shape in [(4, 3, 4), (1, 4, 3, 4)]:
        checked = check(latent(*shape))
        assert (checked.size, checked.batch, checked.parts["z"].shape) == ((20, 30), 1, (1, 4, 3, 4))
    assert check(latent(2, 4, 3, 4)).batch == 2


@pytest.mark.parametrize(
    "shape", [(1, 4, 3, 3), (1, 3, 3, 4), (4, 3, 4, 1), (12,), (3, 4, 3, 4), (0, 4, 3, 4)]
)
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(WrongShape):
        check(latent(*shape))


@pytest.mark.parametrize(
    "size", ["", "20", "20,30,40", "20x30", "-20,30", "0,30", "a,b", "²,30", "1e9,30", "20;30"]
)
def test_another_size_is_refused(size: str) -> None:
    with pytest.raises(WrongShape, match="height,width"):
        check(latent(4, 3, 4), size=size)


def test_size_and_spec_are_required() -> None:
    with pytest.raises(MissingMetadata, match="x-tessera-size"):
        check(latent(4, 3, 4), size=None)
    with pytest.raises(MissingMetadata, match="x-tessera-spec"):
        check(latent(4, 3, 4), spec_id=None)


def test_another_tokenizers_latent_is_refused_with_both_names() -> None:
    with pytest.raises(WrongSpec, match=f"fedcba.*{SPEC_ID}"):
        check(latent(4, 3, 4), spec_id="fedcba")


def test_huge_sizes_are_refused_before_the_shape() -> None:
    with pytest.raises(TooManyPixels):
        check(latent(4, 3, 4), size="1000000000,1000000000")


def test_thin_sizes_count_their_padding() -> None:
    with pytest.raises(TooManyPixels):  # 9000 pixels, 72000 after padding
        check(latent(4, 1, 1125), size="1,9000")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e5, -1e30])
def test_values_beyond_any_latent_are_refused(value: float) -> None:
    z = latent(4, 3, 4)
    z[1, 2, 3] = value
    with pytest.raises(NotFinite, match="NaN"):
        check(z)


def test_other_tensors_beside_z_are_refused() -> None:
    with pytest.raises(WrongShape, match="extra"):
        wire.check(
            WireLatent({"z": latent(4, 3, 4), "extra": latent(1)}, "20,30", SPEC_ID), SPEC, SPEC_ID, **LIMITS
        )


def mutated(body: bytes, chance: random.Random) -> bytes:
    """A few bytes changed, cut, doubled or inserted, mostly near the header."""
    data = bytearray(body)
    for _ in range(chance.randint(1, 4)):
        at = min(int(chance.expovariate(1 / 60)), len(data) - 1)
        kind = chance.randrange(4)
        if kind == 0:
            data[at] = chance.randrange(256)
        elif kind == 1:
            del data[chance.randrange(len(data)) :]
        elif kind == 2:
            data[at:at] = data[at : at + chance.randint(1, 20)]
        else:
            data[at : at + 1] = str(
                chance.choice([0, -1, 2**31, 2**63, 10**30, "1e400", "null", "[["])
            ).encode()
        if not data:
            data = bytearray(b"\0")
    return bytes(data)


CODED = {
    "grid": LatentSpec.image(4, 8, codebook_size=1000),
    "several": LatentSpec.image(4, 8, codebook_size=2**17, num_codebooks=3),
    "scales": LatentSpec.image(4, 8, codebook_size=2**16, scales=(1, 2, 4)),
}
SHAPES = {
    "grid": (3, 4),
    "several": (3, 3, 4),
    "scales": (17,),
}  # 20x30 pixels: 1x1 + 2x2 + 3x4 of the scales


def check_indices(
    indices: np.ndarray, spec: LatentSpec = CODED["grid"], parts: dict[str, np.ndarray] | None = None
) -> wire.CheckedLatent:
    latent = WireLatent(parts or {}, "20,30", SPEC_ID, indices)
    return wire.check(latent, spec, SPEC_ID, **LIMITS)


@pytest.mark.parametrize("kind", CODED)
@pytest.mark.parametrize("dtype", ["u1", "i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8"])
def test_indices_of_every_integer_type_and_layout(kind: str, dtype: str) -> None:
    spec, shape = CODED[kind], SHAPES[kind]
    indices = np.random.default_rng(0).integers(0, 100, (2, *shape)).astype(dtype)
    metadata = {"size": "20,30", "spec_id": SPEC_ID}
    out = io.BytesIO()
    np.save(out, indices)
    headers = {"x-tessera-size": "20,30", "x-tessera-spec": SPEC_ID}
    for body, more in ((save({"indices": indices}, metadata), {}), (out.getvalue(), headers)):
        read = wire.read_latent(body, more)
        assert read.parts == {}
        checked = wire.check(read, spec, SPEC_ID, **LIMITS)
        assert (checked.batch, checked.parts) == (2, {})
        assert checked.indices is not None
        assert checked.indices.dtype == spec.z.index_dtype
        np.testing.assert_array_equal(checked.indices, indices)
        alone = wire.check(wire.WireLatent({}, read.size, read.spec_id, indices[0]), spec, SPEC_ID, **LIMITS)
        assert alone.indices is not None
        assert alone.indices.shape == (1, *shape)


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_written_indices_are_read_by_the_library(dtype: str) -> None:
    indices = np.array([[0, 1, 65535]], dtype)
    body = wire.write_safetensors({"indices": indices}, {"size": "8,24"})
    assert load(body)["indices"].dtype == dtype
    np.testing.assert_array_equal(load(body)["indices"], indices)
    np.testing.assert_array_equal(wire.read_safetensors(body)[0]["indices"], indices)


@pytest.mark.parametrize("value", [-1, 1000, 2**31, -(2**63)])
def test_indices_beyond_the_codebook_are_refused(value: int) -> None:
    indices = np.zeros((3, 4), np.int64)
    indices[1, 2] = value
    with pytest.raises(IndexOutOfRange, match="codes 0 to 999") as refusal:
        check_indices(indices)
    assert refusal.value.details == {"codebook_size": 1000}
    indices[1, 2] = 999
    assert check_indices(indices).batch == 1


@pytest.mark.parametrize("kind", CODED)
@pytest.mark.parametrize(
    "shape", [(), (12,), (4, 3), (1, 4, 3), (3, 3, 4), (3, 4), (17,), (0, 3, 4), (2, 3, 3, 5)]
)
def test_indices_of_another_shape_are_refused(kind: str, shape: tuple[int, ...]) -> None:
    wanted = SHAPES[kind]
    if shape in (wanted, (3, *wanted)):  # a single sample, or three of them, which is one too many here
        pytest.skip("fits this layout")
    with pytest.raises(WrongShape):
        check_indices(np.zeros(shape, np.uint16), CODED[kind])


def test_indices_and_latents_are_not_mixed() -> None:
    with pytest.raises(WrongShape, match="one of them"):
        check_indices(np.zeros((3, 4), np.uint16), parts={"z": latent(4, 3, 4)})
    with pytest.raises(WrongShape, match="3 samples: send 1 to 2"):
        check_indices(np.zeros((3, 3, 4), np.uint16))
    assert check(latent(4, 3, 4)).indices is None


def test_indices_of_a_continuous_latent_are_refused() -> None:
    with pytest.raises(NoIndices, match="continuous.*tensor z"):
        check_indices(np.zeros((3, 4), np.uint16), SPEC)
    with pytest.raises(NoIndices, match="continuous"):
        wire.coded_part(SPEC)
    parts = tuple(CODED["grid"].z.model_copy(update={"name": name}) for name in ("a", "b"))
    with pytest.raises(NoIndices, match="several parts"):
        wire.coded_part(LatentSpec(parts=parts))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.bool_])
def test_indices_that_are_no_integers_are_refused(dtype: type) -> None:
    with pytest.raises(WrongDtype, match="uint16 or uint32"):
        wire.read_safetensors(save({"indices": np.zeros((3, 4), dtype)}))


@pytest.mark.parametrize("kind", ["safetensors", "npy"])
def test_mutated_indices_give_only_our_errors(kind: str) -> None:
    spec = CODED["several"]
    indices = np.random.default_rng(0).integers(0, 2**17, (1, 3, 3, 4)).astype(np.uint32)
    metadata = {"size": "20,30", "spec_id": SPEC_ID}
    body = (
        wire.write_safetensors({"indices": indices}, metadata)
        if kind == "safetensors"
        else wire.write_npy(indices)
    )
    headers = {"x-tessera-size": "20,30", "x-tessera-spec": SPEC_ID}
    chance = random.Random(8)
    refused = 0
    for _ in range(3000):
        try:
            found = wire.check(wire.read_latent(mutated(body, chance), headers), spec, SPEC_ID, **LIMITS)
        except ServiceError as error:
            assert error.status < 500  # noqa: PT017  not every mutation is refused
            refused += 1
        else:
            assert found.indices is not None
            assert found.indices.shape[1:] == spec.z.index_shape(found.size)
            assert 0 <= found.indices.min() <= found.indices.max() < 2**17
    assert refused > 700


@pytest.mark.parametrize("kind", ["safetensors", "npy"])
def test_mutated_tensors_give_only_our_errors(kind: str) -> None:
    """Thousands of damaged files: each is refused with an error of ours, or is still a latent that fits."""
    z = latent(1, 4, 3, 4)
    metadata = {"size": "20,30", "spec_id": SPEC_ID}
    body = wire.write_safetensors({"z": z}, metadata) if kind == "safetensors" else wire.write_npy(z)
    headers = {"x-tessera-size": "20,30", "x-tessera-spec": SPEC_ID}
    chance = random.Random(7)
    refused = 0
    for _ in range(4000):
        try:
            found = wire.check(wire.read_latent(mutated(body, chance), headers), SPEC, SPEC_ID, **LIMITS)
        except ServiceError as error:
            assert error.status < 500  # noqa: PT017  not every mutation is refused
            refused += 1
        else:
            assert found.parts["z"].shape[1:] == SPEC.shape(found.size)["z"]
            assert np.isfinite(found.parts["z"]).all()
    assert refused > 1000
