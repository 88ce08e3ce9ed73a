"""What a path in a request may name: a folder inside those allowed, and nothing that leads out of them."""

import os
from pathlib import Path

import pytest

from service.errors import InvalidParameter, ModelRefused
from service.registry import allowed
from service.registry.allowed import find_below, parse_folders


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "models" / "dit" / "xl").mkdir(parents=True)
    (tmp_path / "models" / "dit" / "xl" / "config.json").write_text("{}")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "config.json").write_text("{}")
    return tmp_path


def test_a_folder_below_is_found_in_the_first_that_has_it(home: Path) -> None:
    (home / "more" / "vae").mkdir(parents=True)
    folders = parse_folders(f"{home / 'models'}, {home / 'more'},")
    assert find_below(folders, "dit/xl") == home / "models" / "dit" / "xl"
    assert find_below(folders, "./vae") == home / "more" / "vae"


def test_without_folders_nothing_is_added() -> None:
    with pytest.raises(ModelRefused, match="TESSERA_MODEL_FOLDERS"):
        find_below((), "dit/xl")


def test_folders_must_be_there(home: Path) -> None:
    with pytest.raises(ValueError, match="gone"):
        parse_folders(str(home / "gone"))


@pytest.mark.parametrize(
    "path",
    [
        *("", ".", "/", "//", "..", "../secret", "dit/../../secret", "dit/xl/..", "~root", "~/x", "dit\\xl"),
        *("dit/xl\0", "dit/\n", "x" * 300, "a/" * 400, "gone", "dit/xl/config.json"),
    ],
)
def test_other_paths_are_refused(home: Path, path: str) -> None:
    for text in (path, str(home / "secret")):
        with pytest.raises(InvalidParameter) as refusal:
            find_below([home / "models"], text)
        assert refusal.value.param == "path"


def test_links_out_are_refused_and_links_inside_are_not(home: Path) -> None:
    folder = home / "models" / "linked"
    folder.mkdir()
    (folder / "weights.safetensors").symlink_to(home / "models" / "dit" / "xl" / "config.json")
    assert find_below([home / "models"], "linked") == folder
    (folder / "config.json").symlink_to(home / "secret" / "config.json")
    with pytest.raises(InvalidParameter, match=r"config\.json"):
        find_below([home / "models"], "linked")
    (home / "models" / "out").symlink_to(home / "secret")
    with pytest.raises(InvalidParameter, match="leads elsewhere"):
        find_below([home / "models"], "out")


def test_links_to_folders_circles_and_pipes_are_refused(home: Path) -> None:
    folder = home / "models" / "odd"
    folder.mkdir()
    for make in (
        lambda path: path.symlink_to(home / "models" / "dit"),
        lambda path: path.symlink_to(path),
        os.mkfifo,
    ):
        make(folder / "entry")
        with pytest.raises(InvalidParameter):
            find_below([home / "models"], "odd")
        (folder / "entry").unlink()
    assert find_below([home / "models"], "odd") == folder


def test_a_folder_of_very_many_files_is_no_model(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allowed, "MAX_FILES", 2)
    for name in "abc":
        (home / "models" / "dit" / name).touch()
    with pytest.raises(InvalidParameter, match="more than 2 files"):
        find_below([home / "models"], "dit")
