"""Parts of a job: whole or not there, and of this job or of none."""

import logging
from pathlib import Path

import pytest
import torch

from tokenizer.core.parts import Parts, spans, write_whole

TENSORS = {
    "rows": torch.arange(12.0, dtype=torch.float64).view(4, 3)[:, :2],  # not contiguous
    "keys": torch.tensor([4, 5, 6, 7]),
    "none": torch.empty(0, 3),
    "flags": torch.tensor([True, False]),
    "one": torch.tensor(1.5),
}


@pytest.mark.parametrize(("total", "size"), [(0, 3), (1, 3), (3, 3), (7, 3), (9, 3)])
def test_spans_cover_every_number_once(total: int, size: int) -> None:
    found = spans(total, size)
    assert [number for span in found for number in span] == list(range(total))
    assert all(len(span) == size for span in found[:-1])
    assert all(1 <= len(span) <= size for span in found)


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    parts = Parts(tmp_path, {"job": "a"})
    assert parts.load(1) is None
    assert parts.missing(3) == [0, 1, 2]
    parts.save(1, TENSORS)
    found = Parts(tmp_path, {"job": "a"}).load(1)
    assert found is not None
    assert {name: tensor.dtype for name, tensor in found.items()} == {
        name: tensor.dtype for name, tensor in TENSORS.items()
    }
    assert all(torch.equal(found[name], tensor) for name, tensor in TENSORS.items())
    assert parts.missing(3) == [0, 2]
    assert [file.name for file in tmp_path.iterdir()] == ["shard-00001.safetensors"]


def test_parts_of_another_job_or_place_are_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    parts = Parts(tmp_path, {"job": "a"})
    parts.save(0, TENSORS)
    with caplog.at_level(logging.WARNING):
        assert not Parts(tmp_path, {"job": "b"}).is_whole(0)
        parts.path(0).rename(parts.path(2))
        assert not parts.is_whole(2)
    assert caplog.text.count("does not verify") == 2


@pytest.mark.parametrize("damage", ["cut", "altered"])
def test_damaged_parts_are_none(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    parts = Parts(tmp_path, {"job": "a"})
    parts.save(0, TENSORS)
    content = bytearray(parts.path(0).read_bytes())
    if damage == "cut":
        content = content[:-5]
    else:
        content[-1] ^= 1
    parts.path(0).write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert parts.load(0) is None
    assert "shard-00000.safetensors" in caplog.text


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")

    def fail(file: Path) -> None:
        file.write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_whole(path, fail)
    assert path.read_text() == "before"
    write_whole(path, lambda file: file.write_text("after"))
    assert path.read_text() == "after"
