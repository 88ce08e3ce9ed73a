"""What `make` says before it installs anything; the targets themselves are what people and CI run."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not on this machine")


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make in a copy of the project's top files; the environment of this run is kept out."""
    for name in ("Makefile", "pyproject.toml", "docker/constraints.txt"):
        if not (folder / name).exists():
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=clean, capture_output=True, text=True, check=False
    )


def script(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_without_a_target_it_lists_them(tmp_path: Path) -> None:
    done = make(tmp_path)
    assert done.returncode == 0
    for target in ("serve", "test", "train-demo", "format"):
        assert f"make {target} " in done.stdout


def test_an_old_python_is_refused_with_what_to_do(tmp_path: Path) -> None:
    old = script(tmp_path / "old", 'case "$1" in --version) echo Python 3.9.18;; *) exit 1;; esac')
    done = make(tmp_path, "serve", f"PYTHON={old}")
    assert done.returncode != 0
    assert "needs Python 3.11 or newer" in done.stderr
    assert "3.9.18" in done.stderr
    assert "make serve PYTHON=" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_it_installs_once_and_again_when_the_project_changes(tmp_path: Path) -> None:
    """A Python that only writes down what it is asked stands for the real one, in a folder with a space."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    record = script(
        folder / "python",
        'printf "%s\\n" "$*" >> asked.txt\n'
        'case "$*" in *venv*) mkdir -p .venv/bin && cp python .venv/bin/python;; esac',
    )

    def installs() -> int:
        done = make(folder, "serve", f"PYTHON=./{record.name}")
        assert done.returncode == 0, done.stderr
        assert "Playground: http://127.0.0.1:8000/" in done.stdout
        lines = (folder / "asked.txt").read_text().splitlines()
        assert lines[-1] == "-m service"
        return sum("pip install" in line and ".[serve]" in line for line in lines)

    assert installs() == 1
    assert installs() == 1
    later = (folder / "docker" / "constraints.txt").stat().st_mtime + 1000
    os.utime(folder / "docker" / "constraints.txt", (later, later))
    assert installs() == 2
