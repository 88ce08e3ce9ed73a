"""A path names a folder of pictures, a shard, a folder or pattern of shards, or is refused with a reason."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from tokenizer.data.folder import Folder
from tokenizer.data.kind import PICTURES, VIDEOS
from tokenizer.data.shards import Shards
from tokenizer.data.source import expand_braces, fingerprint, kind_of, open_source, read_or_next

Make = Callable[..., Path]
Draw = Callable[[int], bytes]


@pytest.fixture
def folder(make_tar: Make, picture: Draw) -> Path:
    """Four shards of one picture each."""
    for number in range(8, 12):
        make_tar(f"set/s-{number:02d}.tar", {f"{number}.png": picture(number)})
    return make_tar("set/s-08.tar", {"8.png": picture(8)}).parent


def names(path: Path) -> list[str]:
    source = open_source(path)
    assert isinstance(source, Shards)
    return [source[index].name for index in range(len(source))]


ALL = [f"s-{number:02d}.tar/{number}.png" for number in range(8, 12)]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", ALL),
        ("s-09.tar", ALL[1:2]),
        ("*.tar", ALL),
        ("s-1?.tar", ALL[2:]),
        ("s-{09..11}.tar", ALL[1:]),
        ("s-{11,08}.tar", [ALL[3], ALL[0]]),
        ("{s}-08.tar", None),
    ],
)
def test_what_a_path_names(folder: Path, path: str, expected: list[str] | None) -> None:
    if expected is None:
        with pytest.raises(ValueError, match="braces hold"):
            open_source(folder / path)
    else:
        assert names(folder / path) == expected


def test_braces_expand_as_in_a_shell() -> None:
    assert expand_braces("a") == ["a"]
    assert expand_braces("{8..11}") == ["8", "9", "10", "11"]
    assert expand_braces("{008..010}") == ["008", "009", "010"]
    assert expand_braces("{a,b}-{0..1}.tar") == ["a-0.tar", "a-1.tar", "b-0.tar", "b-1.tar"]
    for wrong in ("{}", "{5..1}", "{0..100000}", "{0..999}{0..999}"):
        with pytest.raises(ValueError, match="braces hold|more than 100000"):
            expand_braces(wrong)


def test_a_literal_name_wins_over_a_pattern(make_tar: Make, picture: Draw) -> None:
    assert names(make_tar("[a].tar", {"x.png": picture(0)})) == ["[a].tar/x.png"]


def test_pictures_of_a_folder_are_still_a_folder(photographs: Path) -> None:
    assert isinstance(open_source(photographs), Folder)


def test_wrong_paths_are_explained(folder: Path, tmp_path: Path, picture: Draw) -> None:
    (tmp_path / "zipped").mkdir()
    (tmp_path / "zipped/s.tar.gz").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_bytes(b"")
    for path, message in (
        ("none", "none is not a folder, a .tar file or a pattern"),
        ("none-*.tar", "there is no .*none-"),
        ("set/s-{08..12}.tar", r"there is no .*s-12\.tar"),
        ("set/{s-08,s-08}.tar", "names a shard twice"),
        ("text.txt", r"text\.txt is not a folder or a \.tar file"),
        ("zipped", r"s\.tar\.gz is compressed: .* unpack it"),
        ("zipped/s.tar.gz", r"s\.tar\.gz is compressed"),
        ("zipped/*.gz", r"s\.tar\.gz is compressed"),
        ("empty", "holds no pictures"),
    ):
        with pytest.raises(ValueError, match=message):
            open_source(tmp_path / path)
    (folder / "below").mkdir()
    (folder / "below/x.png").write_bytes(picture(0))
    with pytest.raises(ValueError, match=r"holds \.tar shards \(s-08\.tar\) and pictures \(below/x\.png\)"):
        open_source(folder)
    assert names(folder / "*.tar") == ALL


def test_the_next_readable_picture_stands_for_one_that_is_not(
    make_tar: Make, picture: Draw, caplog: pytest.LogCaptureFixture
) -> None:
    shard = make_tar("s.tar", {"a.png": picture(0), "b.png": b"no picture", "c.png": picture(2)[:60]})
    source = open_source(shard)
    with caplog.at_level(logging.WARNING):
        assert [read_or_next(source, index)[0] for index in range(3)] == [0, 0, 0]
    assert f"{shard}: b.png cannot be read" in caplog.text
    assert f"{shard}: c.png cannot be read" in caplog.text
    with pytest.raises(ValueError, match="none of the pictures can be read"):
        read_or_next(open_source(make_tar("t.tar", {"a.png": b"x"})), 0)


def test_a_fingerprint_tells_sets_apart(photographs: Path) -> None:
    source = open_source(photographs)
    pictures = [source[index] for index in range(len(source))]
    assert fingerprint(pictures) == fingerprint(iter(pictures))
    assert fingerprint(pictures[1:]) != fingerprint(pictures) != fingerprint(pictures[::-1])


def test_pictures_and_videos_are_told_apart(
    photographs: Path, films: Path, make_tar: Make, picture: Draw, tmp_path: Path
) -> None:
    assert kind_of(photographs) is PICTURES
    assert kind_of(films) is VIDEOS
    film = (films / "low/c.mp4").read_bytes()
    shard = make_tar("set/s-0.tar", {"a.cls": b"1", "a.mp4": film})
    for path in (shard, shard.parent, shard.parent / "*.tar", shard.parent / "s-{0..0}.tar"):
        assert kind_of(path) is VIDEOS
        assert len(open_source(path, VIDEOS)) == 1
    assert kind_of(make_tar("t.tar", {"a.png": picture(0), "a.mp4": film})) is PICTURES
    assert kind_of(tmp_path / "none") is PICTURES
    both = tmp_path / "both"
    both.mkdir()
    (both / "a.png").write_bytes(picture(0))
    (both / "a.mp4").write_bytes(film)
    with pytest.raises(
        ValueError, match=r"pictures \(a\.png\) and videos \(a\.mp4\): keep them in folders apart"
    ):
        kind_of(both)
