"""Latents of any format: told apart, checked against a tokenizer, and refused where they do not fit."""

import io
import itertools
import math
import random

import numpy as np
import pytest
from safetensors.numpy import save

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
from service.wire import Stored, WireLatent
from tokenizer.spec import LatentSpec

SPEC = LatentSpec.image(4, 8)
SPEC_ID = "0123456789abcdef"
LIMITS = {"max_pixels": 10_000, "max_batch": 2}
TOLD = {"x-tessera-size": "20,30", "x-tessera-spec": SPEC_ID}
METADATA = {"size": "20,30", "spec_id": SPEC_ID}
FORMATS = ("safetensors", "npy", "raw")
DTYPES = ("float32", "float16", "bfloat16", "uint8")


def latent(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def check(z: np.ndarray, size: str | None = "20,30", spec_id: str | None = SPEC_ID) -> wire.CheckedLatent:
    return wire.check(WireLatent({"z": Stored(z)}, size, spec_id), SPEC, SPEC_ID, **LIMITS)


@pytest.mark.parametrize(("file_format", "dtype"), list(itertools.product(FORMATS, DTYPES)))
def test_every_format_and_type_comes_back(file_format: str, dtype: str) -> None:
    """What was written is read as the numbers that the type can hold, told by the bytes and the headers alone."""
    z = latent(2, 4, 3, 4)
    written = wire.write_latent({"z": z}, METADATA, file_format=file_format, dtype=dtype)  # type: ignore[arg-type]
    checked = wire.check(wire.read_latent(written.body, TOLD | written.headers), SPEC, SPEC_ID, **LIMITS)
    assert (checked.batch, checked.size, checked.parts["z"].dtype) == (2, (20, 30), np.float32)
    largest = {"float32": 0.0, "float16": 2**-11, "bfloat16": 2**-8, "uint8": 0.02}[dtype]
    assert np.abs(checked.parts["z"] - z).max() <= largest * np.abs(z).max()


def test_format_is_told_by_the_first_bytes() -> None:
    z = latent(1, 4, 3, 4)
    npy = wire.read_latent(wire.write_npy(z), TOLD)
    tensors = wire.read_latent(wire.write_safetensors({"z": z}, METADATA), {})
    for read in (npy, tensors):
        assert (read.size, read.spec_id) == ("20,30", SPEC_ID)
        np.testing.assert_array_equal(read.parts["z"].array, z)


def test_a_told_shape_makes_it_raw() -> None:
    z = latent(1, 4, 3, 4)
    read = wire.read_latent(z.tobytes(), TOLD | {"x-tessera-shape": "1,4,3,4"})
    np.testing.assert_array_equal(read.parts["z"].array, z)
    with pytest.raises(NotATensor, match="192 bytes and the body has 188"):
        wire.read_latent(z.tobytes()[:-4], TOLD | {"x-tessera-shape": "1,4,3,4"})
    with pytest.raises(WrongShape, match="whole numbers"):
        wire.read_latent(z.tobytes(), TOLD | {"x-tessera-shape": "1x4x3x4"})
    with pytest.raises(WrongDtype, match="float64"):
        wire.read_latent(z.tobytes(), TOLD | {"x-tessera-shape": "1,4,3,4", "x-tessera-dtype": "float64"})


def test_integers_without_scale_are_indices() -> None:
    codes = np.zeros((1, 3, 4), np.uint8)
    for body, more in (
        (wire.write_npy(codes), {}),
        (codes.tobytes(), {"x-tessera-shape": "1,3,4", "x-tessera-dtype": "uint8"}),
    ):
        read = wire.read_latent(body, TOLD | more)
        assert read.parts == {}
        np.testing.assert_array_equal(read.indices, codes)
        scaled = wire.read_latent(body, TOLD | more | {"x-tessera-scale": "1", "x-tessera-offset": "0"})
        assert (scaled.indices, scaled.parts.keys()) == (None, {"z"})


def test_a_type_that_npy_contradicts_is_refused() -> None:
    with pytest.raises(WrongDtype, match="says bfloat16"):
        wire.read_latent(wire.write_npy(latent(1, 4, 3, 4)), TOLD | {"x-tessera-dtype": "bfloat16"})


@pytest.mark.parametrize("values", ["nan", "inf", "1e39", "1e30,1,1,1"])
def test_absurd_scales_are_refused_as_numbers(values: str) -> None:
    codes = np.full((1, 4, 3, 4), 200, np.uint8)
    headers = TOLD | {"x-tessera-scale": values, "x-tessera-offset": "0"}
    with pytest.raises(NotFinite):
        wire.check(wire.read_latent(wire.write_npy(codes), headers), SPEC, SPEC_ID, **LIMITS)


@pytest.mark.parametrize("values", ["1,1,1", "1,1", ",".join("1" * 9)])
def test_scales_that_do_not_fit_are_refused(values: str) -> None:
    codes = np.zeros((1, 4, 3, 4), np.uint8)
    headers = TOLD | {"x-tessera-scale": values, "x-tessera-offset": "0"}
    with pytest.raises(WrongShape, match="needs 4, 4 or 1"):
        wire.check(wire.read_latent(wire.write_npy(codes), headers), SPEC, SPEC_ID, **LIMITS)


def test_samples_count_together() -> None:
    """20x30 pixels are 24x32 after padding: 13 of them fit into 10,000 pixels."""
    with pytest.raises(TooManyPixels, match="there are 14"):
        wire.check(
            WireLatent({"z": Stored(latent(14, 4, 3, 4))}, "20,30", SPEC_ID),
            SPEC,
            SPEC_ID,
            max_pixels=10_000,
            max_batch=20,
        )
    assert (
        wire.check(
            WireLatent({"z": Stored(latent(13, 4, 3, 4))}, "20,30", SPEC_ID),
            SPEC,
            SPEC_ID,
            max_pixels=10_000,
            max_batch=20,
        ).batch
        == 13
    )


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
    "size", ["", "20", "20,30,40,50", "20x30", "-20,30", "0,30", "a,b", "²,30", "1e9,30", "20;30"]
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
            WireLatent({"z": Stored(latent(4, 3, 4)), "extra": Stored(latent(1))}, "20,30", SPEC_ID),
            SPEC,
            SPEC_ID,
            **LIMITS,
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
    indices: np.ndarray, spec: LatentSpec = CODED["grid"], parts: dict[str, Stored] | None = None
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


@pytest.mark.parametrize("value", [-1, 1000, 2**31, -(2**63)])
def test_indices_beyond_the_codebook_are_refused(value: int) -> None:
    indices = np.zeros((3, 4), np.int64)
    indices[1, 2] = value
    with pytest.raises(IndexOutOfRange, match="codes 0 to 999") as refusal:
        check_indices(indices)
    assert refusal.value.details == {"codebook_size": 1000}
    indices[1, 2] = 999
    assert check_indices(indices).batch == 1


OTHER_SHAPES = [(), (12,), (4, 3), (1, 4, 3), (3, 3, 4), (3, 4), (17,), (0, 3, 4), (2, 3, 3, 5)]


@pytest.mark.parametrize(
    ("kind", "shape"),
    [  # but those that fit: one sample, and of the grid three, which are one too many here
        (kind, shape)
        for kind, shape in itertools.product(CODED, OTHER_SHAPES)
        if shape not in (SHAPES[kind], (3, *SHAPES[kind]))
    ],
)
def test_indices_of_another_shape_are_refused(kind: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(WrongShape):
        check_indices(np.zeros(shape, np.uint16), CODED[kind])


def test_indices_and_latents_are_not_mixed() -> None:
    with pytest.raises(WrongShape, match="one of them"):
        check_indices(np.zeros((3, 4), np.uint16), parts={"z": Stored(latent(4, 3, 4))})
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


@pytest.mark.parametrize("kind", ["safetensors", "npy"])
def test_mutated_indices_give_only_our_errors(kind: str) -> None:
    spec = CODED["several"]
    indices = np.random.default_rng(0).integers(0, 2**17, (1, 3, 3, 4)).astype(np.uint32)
    written = wire.write_indices(indices, METADATA, kind)  # type: ignore[arg-type]
    headers = TOLD | written.headers
    chance = random.Random(8)
    refused = 0
    for _ in range(3000):
        try:
            found = wire.check(
                wire.read_latent(mutated(written.body, chance), headers), spec, SPEC_ID, **LIMITS
            )
        except ServiceError as error:
            assert error.status < 500  # noqa: PT017  not every mutation is refused
            refused += 1
        else:
            assert found.indices is not None
            assert found.indices.shape[1:] == spec.z.index_shape(found.size)
            assert 0 <= found.indices.min() <= found.indices.max() < 2**17
    assert refused > 700


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["safetensors", "npy"])
def test_mutated_tensors_give_only_our_errors(kind: str, dtype: str) -> None:
    """Thousands of damaged files: each is refused with an error of ours, or is still a latent that fits."""
    z = latent(1, 4, 3, 4)
    written = wire.write_latent({"z": z}, METADATA, file_format=kind, dtype=dtype)  # type: ignore[arg-type]
    headers = TOLD | written.headers
    chance = random.Random(7)
    refused = 0
    for _ in range(2000):
        try:
            found = wire.check(
                wire.read_latent(mutated(written.body, chance), headers), SPEC, SPEC_ID, **LIMITS
            )
        except ServiceError as error:
            assert error.status < 500  # noqa: PT017  not every mutation is refused
            refused += 1
        else:
            assert found.parts["z"].shape[1:] == SPEC.shape(found.size)["z"]
            assert np.isfinite(found.parts["z"]).all()
    assert refused > 500
