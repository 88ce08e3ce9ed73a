"""The README's lines for the shell, and those in Python, run as they stand."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import service
from service.engine.operations.reconstruct import psnr
from tests.service.conftest import ROOT, Server, as_file, as_pixels, picture

README = Path(service.__file__).with_name("README.md")
BLOCKS = re.findall(r"^```sh run\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
PYTHON, REMOTE = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
# This Python and this checkout, and no proxy between here and the server.
ENVIRONMENT = {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "PYTHONPATH": str(ROOT),
    "no_proxy": "*",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the lines run, in order, beside a photograph."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "photograph.jpg").write_bytes(as_file(picture(75, 50), "JPEG"))
    return folder


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_block(server: Server, folder: Path, block: str) -> None:
    lines = block.replace("http://127.0.0.1:8000", server.url)
    assert server.url in lines
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", lines],
        cwd=folder,
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr + result.stdout


def test_what_the_commands_made(folder: Path) -> None:
    """Runs after the blocks: files where they were asked for, the same pictures by every way."""
    assert as_pixels((folder / "through" / "photograph.webp").read_bytes()).shape == (75, 50, 3)
    told = json.loads((folder / "made.json").read_text())
    assert told["done"][0]["output"] == "made.png"
    piped, made = (as_pixels((folder / name).read_bytes()) for name in ("piped.png", "made.png"))
    np.testing.assert_array_equal(piped, made)
    assert sorted(path.name for path in (folder / "made").iterdir()) == ["one-0.png", "one-1.png"]


def test_python(server: Server, folder: Path) -> None:
    """All but the evaluation, which needs a data set; test_evaluations runs those."""
    lines = PYTHON.replace("http://127.0.0.1:8000", server.url).partition("    job =")[0]
    subprocess.run([sys.executable, "-c", lines], cwd=folder, env=os.environ | ENVIRONMENT, check=True)
    assert as_pixels((folder / "made-3.png").read_bytes()).shape == (32, 32, 3)


def test_python_of_diffusers(server: Server, folder: Path) -> None:
    """What their clients make of the photograph is what ours made of it."""
    lines = REMOTE.replace("http://127.0.0.1:8000", server.url)
    subprocess.run([sys.executable, "-c", lines], cwd=folder, env=os.environ | ENVIRONMENT, check=True)
    remote, decoded = (as_pixels((folder / f"{name}.png").read_bytes()) for name in ("remote", "decoded"))
    assert remote.shape == decoded.shape
    assert np.abs(remote.astype(int) - decoded).max() <= 1


def test_what_the_lines_made(folder: Path) -> None:
    """Runs after the blocks: the decoded picture has the size sent and the PSNR that reconstruct told."""
    original = as_pixels((folder / "photograph.jpg").read_bytes())
    decoded = as_pixels((folder / "decoded.png").read_bytes())
    assert decoded.shape == original.shape == (75, 50, 3)
    told = re.search(r"x-tessera-psnr: ([\d.]+)", (folder / "told.txt").read_text(), re.IGNORECASE)
    reconstruction = as_pixels((folder / "reconstruction.png").read_bytes())
    np.testing.assert_array_equal(decoded, reconstruction)
    assert told is not None
    assert abs(float(told[1]) - psnr(original, decoded)) < 0.05
    assert as_pixels((folder / "decoded.jpg").read_bytes()).shape == original.shape
    assert as_pixels((folder / "colours.png").read_bytes()).shape == (19, 13, 3)
    assert as_pixels((folder / "codes.png").read_bytes()).shape == (19, 13, 3)
    assert as_pixels((folder / "from_indices.png").read_bytes()).shape == original.shape
    assert (folder / "indices.safetensors").stat().st_size < (
        folder / "latent.safetensors"
    ).stat().st_size / 8
    assert as_pixels((folder / "one.png").read_bytes()).shape == (32, 32, 3)
    assert as_pixels((folder / "made.webp").read_bytes()).shape == (32, 32, 3)


def test_what_the_lines_about_formats_made(folder: Path) -> None:
    """Smaller types are smaller files; two pictures come back as an archive; raw files are their elements alone."""
    whole, half, quarter = (
        (folder / f"{name}.safetensors").stat().st_size for name in ("latent", "half", "quarter")
    )
    assert half < 0.6 * whole
    assert quarter < 0.4 * whole
    with zipfile.ZipFile(folder / "two.zip") as archive:
        assert archive.namelist() == ["000.avif", "001.avif"]
        assert all(as_pixels(archive.read(name)).shape == (75, 50, 3) for name in archive.namelist())
    assert (folder / "pixels.raw").stat().st_size == 75 * 50 * 3
    assert (folder / "latent.raw").stat().st_size == 8 * 19 * 13 * 2
    assert "float16" in (folder / "told.raw.txt").read_text()
    assert as_pixels((folder / "reconstruction.webp").read_bytes()).shape == (75, 50, 3)
