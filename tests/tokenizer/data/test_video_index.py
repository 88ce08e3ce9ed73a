"""Videos are probed once; what cannot be used is named and left out, also the next time."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tokenizer.data import video_index
from tokenizer.data.video_header import probe
from tokenizer.data.video_index import INDEX, VideoIndex


@pytest.fixture
def folder(films: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(films, tmp_path / "films"))


def test_headers_and_labels_in_order(folder: Path) -> None:
    index = VideoIndex(folder)
    assert index.class_names == ["high", "low"]
    assert [(video.file.name, video.header.frames, video.label) for video in index.videos] == [
        ("high/a.mp4", 20, 0),
        ("high/b.mp4", 7, 0),
        ("low/c.mp4", 2, 1),
        ("low/d.mp4", 12, 1),
    ]


def test_probed_once_and_again_where_a_file_changed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = VideoIndex(folder)
    probed: list[object] = []

    def counted(file: object) -> object:
        probed.append(file)
        return probe(file)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(video_index, "probe", counted)
    assert VideoIndex(folder).videos == first.videos
    assert probed == []
    shutil.copy(folder / "high/b.mp4", folder / "low/c.mp4")
    assert [video.header.frames for video in VideoIndex(folder).videos] == [20, 7, 7, 12]
    assert len(probed) == 1
    for wrong in (b"", b"[]", b'{"format": 0, "videos": {}}', b'{"format": 1, "videos": {"a": [1, 2, [3]]}}'):
        (folder / INDEX).write_bytes(wrong)
        assert len(VideoIndex(folder).videos) == 4


def test_what_cannot_be_used_is_named_and_left_out(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = (folder / "high/b.mp4").read_bytes()
    (folder / "high/b.mp4").write_bytes(whole[:-99])
    (folder / "low/c.mp4").write_bytes(b"words")
    for _ in range(2):  # the second time from the index
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert [video.file.name for video in VideoIndex(folder).videos] == ["high/a.mp4", "low/d.mp4"]
        assert "b.mp4 cannot be read: the video is cut short" in caplog.text
        assert "c.mp4 cannot be read: this is not a video" in caplog.text
    for name in ("high/a.mp4", "low/d.mp4"):
        (folder / name).write_bytes(b"words")
    with pytest.raises(ValueError, match="none of its 4 videos can be read"):
        VideoIndex(folder)


def test_shards(folder: Path, make_tar: Callable[..., Path]) -> None:
    film = (folder / "high/b.mp4").read_bytes()
    shard = make_tar("set/s.tar", {"0.mp4": film, "0.cls": b"1", "1.mp4": film[:-50], "1.cls": b"0"})
    index = VideoIndex(shard)
    assert [(video.file.name, video.header.frames, video.label) for video in index.videos] == [
        ("s.tar/0.mp4", 7, 1)
    ]
    assert (shard.parent / INDEX).is_file()
