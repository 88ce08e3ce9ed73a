"""A file holds everything that it takes to decode, and shows when it was changed."""

from pathlib import Path

import numpy as np
import pytest

from eval.errors import EvaluationError
from eval.rate.file import Coded, read, write


@pytest.fixture
def coded() -> Coded:
    draw = np.random.default_rng(0)
    streams = tuple(draw.integers(0, 2**32, count, dtype=np.uint32) for count in (5, 0, 9))
    tables = tuple(draw.integers(1, 9, count, dtype=np.uint32) for count in (4, 2))
    return Coded(streams, tables, {"step": 0.5, "row_lengths": [3, 3]})


def test_what_was_written_is_read(tmp_path: Path, coded: Coded) -> None:
    path = tmp_path / "a.safetensors"
    size = write(path, coded)
    assert size == path.stat().st_size
    found = read(path)
    assert found.about == coded.about
    for sent, got in zip((*coded.streams, *coded.tables), (*found.streams, *found.tables), strict=True):
        assert got.dtype == np.uint32
        assert np.array_equal(sent, got)


def test_bytes_add_up(tmp_path: Path, coded: Coded) -> None:
    """Streams with their lengths and checksums, tables, and nothing but a short header beside them."""
    assert coded.picture_bytes() == [5 * 4 + 8, 8, 9 * 4 + 8]
    assert coded.table_bytes == 6 * 4
    size = write(tmp_path / "a.safetensors", coded)
    assert 0 < size - sum(coded.picture_bytes()) - coded.table_bytes < 700


def test_every_changed_bit_of_a_stream_is_noticed(tmp_path: Path, coded: Coded) -> None:
    path = tmp_path / "a.safetensors"
    write(path, coded)
    data = path.read_bytes()
    place = data.index(coded.streams[2].tobytes())
    for offset in (0, 17, 35):
        changed = bytearray(data)
        changed[place + offset] ^= 4
        path.write_bytes(changed)
        with pytest.raises(EvaluationError, match="picture 2 was changed"):
            read(path)


def test_other_files_are_refused(tmp_path: Path, coded: Coded) -> None:
    path = tmp_path / "a.safetensors"
    write(path, coded)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(EvaluationError, match="holds no coded latents"):
        read(path)
    with pytest.raises(EvaluationError, match="holds no coded latents"):
        read(tmp_path / "none")
