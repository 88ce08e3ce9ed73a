"""Which files are read and written: one, several, folders, streams; clashes and missing ones are refused."""

import io
from pathlib import Path
from types import SimpleNamespace

import pytest

from service.cli.files import PICTURES, Task, Usage, tasks


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def planned(
    inputs: list[str], output: str | None, suffix: str = ".safetensors"
) -> list[tuple[str | None, str | None]]:
    return [
        (None if task.source is None else str(task.source), None if task.target is None else str(task.target))
        for task in tasks(inputs, output, kinds=PICTURES, suffix=suffix)
    ]


def test_one_file_goes_where_it_is_told(tmp_path: Path) -> None:
    source = str(touch(tmp_path / "a.jpg"))
    assert planned([source], str(tmp_path / "b.out")) == [(source, str(tmp_path / "b.out"))]
    assert planned([source], str(tmp_path / "new/")) == [(source, str(tmp_path / "new"))]
    assert planned([source], f"{tmp_path}/new/") == [(source, str(tmp_path / "new" / "a.safetensors"))]
    assert planned([source], str(tmp_path)) == [(source, str(tmp_path / "a.safetensors"))]
    assert planned([source], None) == [(source, str(tmp_path / "a.safetensors"))]
    assert planned([source], None, ".jpg") == [(source, str(tmp_path / "a-made.jpg"))]
    assert planned([source], "-") == [(source, None)]


def test_folders_keep_their_shape_and_only_pictures_are_taken(tmp_path: Path) -> None:
    for name in ("in/b.PNG", "in/deep/a.webp", "in/notes.txt"):
        touch(tmp_path / name)
    out = tmp_path / "out"
    assert planned([str(tmp_path / "in")], str(out)) == [
        (str(tmp_path / "in/b.PNG"), str(out / "b.safetensors")),
        (str(tmp_path / "in/deep/a.webp"), str(out / "deep/a.safetensors")),
    ]
    assert planned([str(tmp_path / "in")], None)[1][1] == str(tmp_path / "in/deep/a.safetensors")


def test_a_folder_of_one_picture_is_still_a_folder(tmp_path: Path) -> None:
    touch(tmp_path / "in/a.png")
    assert planned([str(tmp_path / "in")], str(tmp_path / "out"))[0][1] == str(tmp_path / "out/a.safetensors")


def test_streams() -> None:
    assert planned(["-"], None) == [(None, None)]
    assert planned(["-"], "a.out") == [(None, "a.out")]


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    a, b = str(touch(tmp_path / "a.jpg")), str(touch(tmp_path / "a.png"))
    with pytest.raises(Usage, match=r"a.jpg and .*a.png would both become .*a.safetensors"):
        planned([a, b], str(tmp_path / "out"))
    with pytest.raises(Usage, match="standard output"):
        planned([a, b], "-")
    with pytest.raises(Usage, match=r"nothing.png: no such file"):
        planned([str(tmp_path / "nothing.png")], None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(Usage, match="no files of"):
        planned([str(tmp_path / "empty")], None)


def test_a_task_reads_writes_and_knows_when_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Task(touch(tmp_path / "a"), tmp_path / "new" / "b.png")
    assert not task.done
    task.write(task.read() + b"y")
    assert (tmp_path / "new" / "b.png").read_bytes() == b"xy"
    assert task.done
    touch(tmp_path / "c-0.png")
    assert Task(None, tmp_path / "c.png").done
    out = io.BytesIO()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"in")))
    monkeypatch.setattr("sys.stdout", SimpleNamespace(buffer=out))
    stream = Task(None, None)
    stream.write(stream.read())
    assert (out.getvalue(), stream.name, stream.done) == (b"in", "-", False)
