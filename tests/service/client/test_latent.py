"""Latents as files: what is written is read, exactly or within the step of the type."""

from pathlib import Path

import numpy as np
import pytest

from service.client.errors import BadAnswer
from service.client.latent import Latent, write_whole
from service.errors import NotATensor
from service.wire.dtypes import LatentDtype
from service.wire.safetensors import write_safetensors


def latent(samples: int = 2) -> Latent:
    z = np.random.default_rng(0).standard_normal((samples, 4, 3, 5), np.float32)
    return Latent({"z": z}, (24, 40), "ab" * 32, metadata={"seed": "7"})


def codes() -> Latent:
    indices = np.random.default_rng(0).integers(0, 6561, (2, 3, 5)).astype(np.uint16)
    return Latent({}, (24, 40), "ab" * 32, indices, {"codebook_size": "6561"})


@pytest.mark.parametrize("made", [latent(), codes()], ids=["latent", "indices"])
def test_a_file_holds_all_of_it(made: Latent, tmp_path: Path) -> None:
    made.save(tmp_path / "a.safetensors")
    read = Latent.load(tmp_path / "a.safetensors")
    assert (read.size, read.spec_id, dict(read.metadata)) == (made.size, made.spec_id, dict(made.metadata))
    assert read.parts.keys() == made.parts.keys()
    for name, array in made.parts.items():
        np.testing.assert_array_equal(read.parts[name], array)
    if made.indices is not None:
        assert read.indices is not None
        np.testing.assert_array_equal(read.indices, made.indices)
        assert read.indices.dtype == np.uint16
    assert read.num_samples == 2
    assert list(tmp_path.iterdir()) == [tmp_path / "a.safetensors"]


@pytest.mark.parametrize(("dtype", "step"), [("float16", 2e-3), ("bfloat16", 2e-2), ("uint8", 2e-2)])
def test_smaller_types_lose_no_more_than_their_step(dtype: LatentDtype, step: float) -> None:
    made = latent()
    body = made.to_bytes(dtype)
    assert len(body) < len(made.to_bytes()) - made.num_bytes / 3
    np.testing.assert_allclose(Latent.from_bytes(body).z, made.z, atol=step)


def test_one_sample_of_several() -> None:
    made = latent(3)
    np.testing.assert_array_equal(made[1].z, made.z[1:2])
    np.testing.assert_array_equal(made[-1].z, made.z[2:])
    assert made[1].size == made.size
    one = codes()[0].indices
    assert one is not None
    assert one.shape == (1, 3, 5)
    with pytest.raises(IndexError):
        made[3]


def test_a_file_without_size_or_spec_is_refused() -> None:
    with pytest.raises(BadAnswer, match="size and spec_id"):
        Latent.from_bytes(write_safetensors({"z": latent().z}, {"size": "24,40"}))
    with pytest.raises(NotATensor):
        Latent.from_bytes(b"no such file")


def test_it_tells_what_it_is() -> None:
    assert repr(latent()) == "Latent(z [2, 4, 3, 5], 24x40 pixels, spec abababababab, 12.0 times smaller)"


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", b"old")
    write_whole(tmp_path / "a", b"new")
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "missing" / "a", b"x")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"new")]
