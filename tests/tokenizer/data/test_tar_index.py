"""The index of a shard finds exactly the bytes of its pictures, holds while the shard does, and refuses damage."""

import io
import json
import logging
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tokenizer.data import tar_index
from tokenizer.data.kind import VIDEOS, Kind
from tokenizer.data.tar_index import build_index, index_path, load_index

Make = Callable[..., Path]
Draw = Callable[[int], bytes]


def content(shard: Path) -> dict[str, bytes]:
    """What the index says is there, cut out of the file."""
    index, data = build_index(shard), shard.read_bytes()
    return {
        name: data[offset : offset + size]
        for name, offset, size in zip(index.names, index.offsets, index.sizes, strict=True)
    }


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_the_bytes_are_the_pictures_in_every_tar_format(make_tar: Make, picture: Draw, form: int) -> None:
    long = f"{'d' * 90}/{'n' * 90}.png"  # more than the 100 bytes of an old header
    members = {"a/0.png": picture(0), "a/0.cls": b"3", long: picture(1), "z.png": picture(2)}
    if form != tarfile.USTAR_FORMAT:
        members["ö/é.png"] = picture(3)
    shard = make_tar("s.tar", members, form)
    assert content(shard) == {name: data for name, data in members.items() if name.endswith(".png")}


def test_keys_and_extensions_follow_webdataset(make_tar: Make, picture: Draw) -> None:
    members = {
        "dir.v1/7.thumbnail.jpg": picture(0),
        "dir.v1/7.jpg": picture(1),
        "dir.v1/7.json": b'{"label": "cat", "caption": "no dog"}',
        "dir.v1/8.cls": b"5\n",
        "dir.v1/8.json": b'{"label": "ignored beside .cls"}',
        "dir.v1/8.PNG": picture(2),
        "dir.v1/9.seg.webp": picture(3),
        "dir.v1/10.json": b'{"caption": "a key without a picture"}',
        "dir.v1/.hidden.png": picture(4),
        "dir.v1/noextension": b"",
    }
    index = build_index(make_tar("s.tar", members))
    found = dict(zip(index.names, index.labels, strict=True))
    assert found == {"dir.v1/7.jpg": "cat", "dir.v1/8.PNG": 5, "dir.v1/9.seg.webp": None}


def test_members_of_a_sample_may_lie_apart(make_tar: Make, picture: Draw) -> None:
    index = build_index(
        make_tar("s.tar", {"a.cls": b"0", "b.cls": b"1", "b.png": picture(1), "a.png": picture(0)})
    )
    assert (index.names, index.labels) == (["b.png", "a.png"], [1, 0])


def test_folders_and_links_are_passed_over(tmp_path: Path, picture: Draw) -> None:
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for name, kind in (("f.png", tarfile.DIRTYPE), ("l.png", tarfile.SYMTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "elsewhere"
            tar.addfile(info)
        info = tarfile.TarInfo("p.png")
        info.size = len(picture(0))
        tar.addfile(info, io.BytesIO(picture(0)))
    assert content(tmp_path / "s.tar") == {"p.png": picture(0)}


def test_the_index_is_kept_and_made_anew_when_the_shard_changes(
    make_tar: Make, picture: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = make_tar("s.tar", {"a.png": picture(0)})
    first = load_index(shard)
    passes: list[Path] = []

    def counted(path: Path, kind: Kind, build: Any = build_index) -> tar_index.TarIndex:
        passes.append(path)
        index: tar_index.TarIndex = build(path)
        return index

    monkeypatch.setattr(tar_index, "build_index", counted)
    assert load_index(shard) == first
    assert passes == []
    os.utime(shard, ns=(1, 1))
    assert load_index(shard).mtime_ns == 1
    make_tar("s.tar", {"b.png": picture(1), "c.png": picture(2)})
    assert load_index(shard).names == ["b.png", "c.png"]
    assert len(passes) == 2
    for wrong in (b"", b"[]", b'{"format": 0}', b'{"format": 1, "names": []}'):
        index_path(shard).write_bytes(wrong)
        assert load_index(shard).names == ["b.png", "c.png"]
    assert len(passes) == 6
    assert json.loads(index_path(shard).read_text())["names"] == ["b.png", "c.png"]
    assert {file.name for file in shard.parent.iterdir()} == {
        "s.tar",
        "s.tar.index",
    }  # no temporary file is left


def test_a_place_that_cannot_be_written_to_is_no_fault(
    make_tar: Make, picture: Draw, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shard = make_tar("s.tar", {"a.png": picture(0)})

    def refuse(*_: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(os, "replace", refuse)
    with caplog.at_level(logging.INFO):
        assert load_index(shard).names == ["a.png"]
    assert "kept in memory only" in caplog.text
    assert [file.name for file in shard.parent.iterdir()] == ["s.tar"]


def test_every_cut_is_told(make_tar: Make, picture: Draw) -> None:
    """However many bytes are lost, no sample is lost silently; only zeros behind the end mark may go."""
    shard = make_tar("s.tar", {f"{number}.png": picture(number) for number in range(2)})
    whole = shard.read_bytes()
    end = len(whole.rstrip(b"\0"))
    end += -end % 512
    for length in [*range(0, end, 97), *range(512, end + 1, 512), end + 511]:
        shard.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"s\.tar.*cut short"):
            build_index(shard)
    shard.write_bytes(whole[: end + 512])
    assert len(build_index(shard).names) == 2


def test_a_damaged_header_is_told(make_tar: Make, picture: Draw) -> None:
    shard = make_tar("s.tar", {f"{number}.png": picture(number) for number in range(3)})
    data = bytearray(shard.read_bytes())
    second = build_index(shard).offsets[1] - 512
    data[second + 10] ^= 1
    shard.write_bytes(data)
    with pytest.raises(ValueError, match=f"damaged, near byte {second}"):
        build_index(shard)
    with pytest.raises(ValueError, match="cannot be read as a tar archive"):
        build_index(make_tar("t.tar", {}).with_name("none.tar"))


def test_archives_joined_with_cat_are_told(make_tar: Make, picture: Draw) -> None:
    one, two = make_tar("a.tar", {"a.png": picture(0)}), make_tar("b.tar", {"b.png": picture(1)})
    one.write_bytes(one.read_bytes() + two.read_bytes())
    with pytest.raises(ValueError, match="goes on behind its end.*--concatenate"):
        build_index(one)


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_compressed_archives_are_refused_whatever_their_name(tmp_path: Path, mode: str) -> None:
    with tarfile.open(tmp_path / "s.tar", mode) as tar:
        tar.addfile(tarfile.TarInfo("a.png"))
    with pytest.raises(ValueError, match=r"s\.tar is compressed: .* unpack it to a \.tar"):
        build_index(tmp_path / "s.tar")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("a.txt", b"words")], "holds no pictures"),
        ([], "holds no pictures"),
        ([("a.png", b"1"), ("b.png", b"2"), ("a.png", b"3")], "holds a.png twice"),
        ([("a.png", b"1"), ("a.jpg", b"2")], "two pictures of one key, a.png and a.jpg"),
        ([("a.left.png", b"1"), ("a.right.png", b"2")], "two pictures of one key"),
        ([("a.png", b"1"), ("a.cls", b"cat")], "a.cls must hold a class number, 0 to 999999, not 'cat'"),
        ([("a.png", b"1"), ("a.cls", b"-1")], "a.cls must hold a class number"),
        ([("a.png", b"1"), ("a.cls", b"1000000")], "a.cls must hold a class number"),
        ([("a.png", b"1"), ("a.json", b"{")], "a.json is not JSON"),
        (
            [("a.png", b"1"), ("a.json", b'{"label": 1.5}')],
            "label of a.json must be a class name or a number",
        ),
        ([("a.png", b"1"), ("a.json", b'{"label": true}')], "label of a.json must be"),
        ([("a.png", b"1"), ("a.json", b" " * (2**20 + 1))], "a.json is 1048577 bytes long"),
    ],
)
def test_what_cannot_be_used_is_named(make_tar: Make, members: list[tuple[str, bytes]], message: str) -> None:
    with pytest.raises(ValueError, match=rf"s\.tar.*{message}"):
        build_index(make_tar("s.tar", members))


def test_videos_have_an_index_of_their_own(make_tar: Make, picture: Draw) -> None:
    shard = make_tar("s.tar", {"a.png": picture(0), "a.mp4": b"film", "b.webm": b"more", "b.cls": b"3"})
    index = load_index(shard, VIDEOS)
    assert (index.names, index.labels) == (["a.mp4", "b.webm"], [None, 3])
    assert index_path(shard, VIDEOS).is_file()
    assert not index_path(shard).exists()
    assert load_index(shard).names == ["a.png"]
    with pytest.raises(ValueError, match=r"holds no videos \(\.gif, "):
        load_index(make_tar("t.tar", {"a.png": picture(0)}), VIDEOS)
