"""Packed shards hold the folder's bytes, are the same each time, and appear whole or not at all."""

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tokenizer.data.folder import Folder
from tokenizer.data.pack import PackConfig, main, pack, unique_keys
from tokenizer.data.shards import Shards
from tokenizer.data.tar_index import index_path

Draw = Callable[[int], bytes]


def test_bytes_order_and_classes_are_those_of_the_folder(photographs: Path, tmp_path: Path) -> None:
    folder, shards = (
        Folder(photographs),
        pack(PackConfig(path=photographs, out=tmp_path / "out", shard_images=20)),
    )
    assert [file.name for file in sorted((tmp_path / "out").glob("*.tar"))] == [
        f"shard-{number:06d}.tar" for number in range(3)
    ]
    assert len(shards) == len(folder)
    assert shards.class_names == folder.class_names
    for index in range(len(folder)):
        assert shards[index].member == folder[index].name
        assert shards[index].read() == folder[index].read()
        assert shards.label(index) == folder.label(index)
    assert all(index_path(shard.path).is_file() for shard in shards.shards)


def test_equal_folders_give_equal_shards(photographs: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        pack(PackConfig(path=photographs, out=tmp_path / name))
    assert (tmp_path / "a/shard-000000.tar").read_bytes() == (tmp_path / "b/shard-000000.tar").read_bytes()


def test_any_tar_reads_them_back(photographs: Path, tmp_path: Path) -> None:
    pack(PackConfig(path=photographs, out=tmp_path / "out"))
    with tarfile.open(tmp_path / "out/shard-000000.tar") as tar:
        tar.extractall(tmp_path / "back", filter="data")
    assert (tmp_path / "back/waves/07.png").read_bytes() == (photographs / "waves/07.png").read_bytes()
    assert (tmp_path / "back/waves/07.cls").read_bytes() == b"1"


def test_names_that_would_share_a_key_get_their_own(tmp_path: Path, picture: Draw) -> None:
    assert unique_keys(["a.v1/x.y.png", "x.jpg", "x.png", "x_.png"]) == ["a.v1/x_y", "x", "x_", "x__"]
    for number, name in enumerate(("x.jpg", "x.png", "x.1.png", ".x.png")):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(picture(number))
    shards = pack(PackConfig(path=tmp_path / "in", out=tmp_path / "out"))
    folder = Folder(tmp_path / "in")
    assert [shards[i].read() for i in range(4)] == [folder[i].read() for i in range(4)]
    assert shards.class_names == [""]
    assert not (tmp_path / "out/classes.json").exists()


def test_an_unfinished_folder_never_appears(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(tarfile.TarFile, "addfile", fail)
        with pytest.raises(OSError, match="full"):
            pack(PackConfig(path=photographs, out=tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []
    pack(PackConfig(path=photographs, out=tmp_path / "out"))
    with pytest.raises(ValueError, match="exists already"):
        pack(PackConfig(path=photographs, out=tmp_path / "out"))


def test_the_command(photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([f"path={photographs}", f"out={tmp_path / 'out'}", "shard_images=30"])
    assert "48 pictures of 2 classes in 2 shards" in capsys.readouterr().out
    assert len(Shards(sorted((tmp_path / "out").glob("*.tar")))) == 48
    with pytest.raises(SystemExit) as ended:
        main([f"path={tmp_path / 'none'}", f"out={tmp_path / 'other'}"])
    assert ended.value.code == 2
    assert "is not a folder" in capsys.readouterr().err
