"""A folder's pictures come in the order of their paths, with the first level as classes."""

from pathlib import Path

import pytest

from tokenizer.data.folder import Folder, list_images


def test_wrong_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a folder"):
        list_images(tmp_path / "none")
    with pytest.raises(ValueError, match="holds no pictures"):
        list_images(tmp_path)


def test_order_names_and_classes(tmp_path: Path) -> None:
    for name in ("dog/b.PNG", "dog/deep/a.jpg", "cat/z.webp", "top.jpeg", "dog/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    folder = Folder(tmp_path)
    assert [folder[i].name for i in range(len(folder))] == [
        "cat/z.webp",
        "dog/b.PNG",
        "dog/deep/a.jpg",
        "top.jpeg",
    ]
    assert folder.class_names == ["", "cat", "dog"]
    assert [folder.label(i) for i in range(4)] == [1, 2, 2, 0]
    assert folder[1].read() == b"dog/b.PNG"
    assert folder[1].num_bytes == 9
    assert str(folder[1]) == str(tmp_path / "dog/b.PNG")
