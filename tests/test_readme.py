"""The README's blocks tagged ``run`` are run, in order, on pictures made here; the rest is looked up."""

import contextlib
import json
import os
import re
import runpy
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
READMES = [path for path in sorted(ROOT.glob("*/README.md")) if not path.parent.name.startswith(".")]


def blocks(tag: str) -> list[str]:
    """The bodies of the README's blocks with exactly this tag."""
    fenced = re.findall(r"^```([^\n]*)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
    return [body for name, body in fenced if name == tag]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def run_script(script: str, folder: Path, photographs: Path) -> None:
    """Run the script in an empty folder with this Python; whatever it started is ended with it.

    The service's port is replaced by a free one, so that a service that runs already is not in the way.
    """
    port = str(free_port())
    variables = {name: value for name, value in os.environ.items() if not name.startswith("TESSERA_")}
    variables |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PHOTOS": str(photographs),
        "TESSERA_PORT": port,
    }
    log = folder / "log.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", script.replace(":8000", f":{port}")],
            cwd=folder,
            env=variables,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):  # nothing is left to end
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert code == 0, log.read_text()[-5000:]


def pixels(path: Path) -> NDArray[np.float64]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), dtype=np.float64)


def psnr(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    return float(10 * np.log10(255**2 / np.mean((first - second) ** 2)))


@pytest.mark.slow
@pytest.mark.timeout(1800)  # a machine with other work is slow, which is no failure
@pytest.mark.skipif(shutil.which("curl") is None, reason="the README's commands use curl")
def test_the_chain_runs_from_photographs_to_service(photographs: Path, tmp_path: Path) -> None:
    found = blocks("bash run")
    assert [re.findall(r"python -m (\S+)", block) for block in found] == [
        ["tokenizer.train", "tokenizer.stats"],
        ["diffusion.latents", "diffusion.train"],
        ["eval.reconstruct", "eval.generate"],
        ["service"],
    ]
    run_script("\n".join([*found, 'printf %s "$PHOTO" > photo.txt']), tmp_path, photographs)

    original = pixels(Path((tmp_path / "photo.txt").read_text()))
    decoded, reconstructed = pixels(tmp_path / "decoded.png"), pixels(tmp_path / "reconstructed.png")
    told = re.search(r"x-tessera-psnr: (\S+)", (tmp_path / "headers.txt").read_text().lower())
    assert told
    assert original.shape == decoded.shape == reconstructed.shape
    assert psnr(original, decoded) == pytest.approx(float(told[1]), abs=0.05)
    assert psnr(original, reconstructed) == pytest.approx(float(told[1]), abs=0.05)
    assert pixels(tmp_path / "generated.png").shape == (64, 64, 3)

    report = json.loads((tmp_path / "runs/tiny/reconstruct/report.json").read_text())
    assert report["num_images"] == len(list(photographs.rglob("*.png")))
    crops = [pixels(path)[8:88, :] for path in photographs.rglob("*.png")]
    flat = float(np.mean([psnr(crop, crop.mean(axis=(0, 1), keepdims=True)) for crop in crops]))
    assert report["metrics"]["psnr"]["value"] > flat + 2, "it learned no more than the mean colour"
    generated = json.loads((tmp_path / "runs/tiny/generate/report.json").read_text())
    assert generated["metrics"].keys() == {"gfid"}
    for name in ("reconstruct", "generate"):
        assert list((tmp_path / "runs/tiny" / name).glob("*.html"))


@pytest.mark.parametrize(
    "command",
    [
        line
        for block in blocks("bash")
        for line in block.splitlines()
        if line.startswith("python -m ") and "service" not in line
    ],
)
@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")  # another test imported the job
def test_presets_and_keys_of_the_jobs_exist(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, job, *arguments = shlex.split(command)
    monkeypatch.setattr(sys, "argv", [job, *arguments, "--print"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(job, run_name="__main__")
    assert ended.value.code == 0, capsys.readouterr().err


@pytest.mark.parametrize("path", [ROOT / "README.md", *READMES], ids=lambda path: str(path.relative_to(ROOT)))
def test_links_point_to_files(path: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (path.parent / link).exists()] == []


def test_the_tree_names_what_there_is() -> None:
    (tree,) = [block for block in blocks("") if block.startswith("tokenizer/")]
    top = ROOT
    for line in tree.splitlines():
        name, _, about = line.strip().partition(" ")
        if not line.startswith(" "):
            top = ROOT / name
        entry = top if not line.startswith(" ") else top / name
        assert entry.exists(), line
        for other in re.findall(r"(?<![\w/.])(\w+\.py|\w+/)(?![\w-])", about):
            assert (entry / other).exists() or (top / other).exists(), f"{other} in: {line.strip()}"


def test_every_package_is_documented_beside_its_code() -> None:
    assert {path.parent.name for path in READMES} >= {"tokenizer", "diffusion", "eval", "service", "docker"}
