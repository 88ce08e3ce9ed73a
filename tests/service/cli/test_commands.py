"""The commands on files, against the running server; every one in this process but the last."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from service.cli.__main__ import main
from service.client import Client, Latent
from tests.service.conftest import ROOT, Server, as_file, as_pixels, picture


@pytest.fixture(autouse=True)
def _at_the_server(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESSERA_URL", server.url)
    monkeypatch.delenv("TESSERA_API_KEY", raising=False)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "deep").mkdir(parents=True)
    for index, name in enumerate(("a.png", "b.png", "deep/c.png")):
        (folder / name).write_bytes(as_file(picture(20 + index, 24, index)))
    return folder


def test_a_folder_there_and_back(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    latents, decoded, made = tmp_path / "latents", tmp_path / "decoded", tmp_path / "made"
    assert main(["encode", str(pictures), "-o", str(latents), "--dtype", "float16"]) == 0
    assert main(["decode", str(latents), "-o", str(decoded)]) == 0
    assert main(["reconstruct", str(pictures), "-o", str(made), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [facts["psnr"] > 0 for facts in told["done"]] == [True] * 3
    for name in ("a.png", "b.png", "deep/c.png"):
        shape = as_pixels((pictures / name).read_bytes()).shape
        assert as_pixels((decoded / name).read_bytes()).shape == shape
        assert as_pixels((made / name).read_bytes()).shape == shape
    assert Latent.load(latents / "deep/c.safetensors").size == (22, 24)


def test_what_is_there_is_skipped_and_a_broken_file_fails_alone(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "broken.png").write_bytes(b"no picture at all")
    out = tmp_path / "out"
    command = ["encode", str(pictures), "-o", str(out), "--concurrency", "2"]
    assert main(command) == 1
    told = capsys.readouterr().err
    assert "3 done, 1 FAILED" in told
    assert f"{pictures / 'broken.png'}: this is not a picture" in told
    stamp = (out / "a.safetensors").stat().st_mtime_ns
    (pictures / "broken.png").unlink()
    assert main(command) == 0
    assert "0 done, 3 skipped" in capsys.readouterr().err
    assert (out / "a.safetensors").stat().st_mtime_ns == stamp


def test_indices(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.safetensors"
    assert (
        main(["encode", str(pictures / "a.png"), "-o", str(out), "--model", "codes", "--what", "indices"])
        == 0
    )
    assert Latent.load(out).indices is not None
    assert (
        main(["decode", str(out), "-o", str(tmp_path / "a.jpg"), "--model", "codes", "--output", "jpeg"]) == 0
    )
    assert as_pixels((tmp_path / "a.jpg").read_bytes()).shape == (20, 24, 3)


def test_generate_pictures_and_latents(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = ["generate", "--label", "star", "--seed", "5", "--steps", "2", "--num-images", "2"]
    assert main([*wanted, "-o", str(tmp_path / "new" / "a.png"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["seed"] == 5
    assert told["outputs"] == [str(tmp_path / "new" / f"a-{index}.png") for index in (0, 1)]
    assert main([*wanted, "--output", "latent", "-o", str(tmp_path / "a.safetensors")]) == 0
    assert (
        main(["decode", str(tmp_path / "a.safetensors"), "-o", str(tmp_path / "b.png"), "--model", "tiny"])
        == 0
    )
    for index in (0, 1):
        np.testing.assert_array_equal(
            as_pixels((tmp_path / f"b-{index}.png").read_bytes()),
            as_pixels((tmp_path / "new" / f"a-{index}.png").read_bytes()),
        )
    with Client(server.url) as client:
        again = client.generate("star", seed=5, num_steps=2, num_images=2)
    np.testing.assert_array_equal(again[1].array(), as_pixels(Path(told["outputs"][1]).read_bytes()))


def test_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    assert "tiny" in capsys.readouterr().out
    assert main(["models", "load"]) == 2
    assert "needs the name" in capsys.readouterr().err
    assert main(["models", "load", "tiny", "--json"]) == 0
    assert [facts["name"] for facts in json.loads(capsys.readouterr().out)] == ["tiny"]
    assert main(["models", "--json"]) == 0
    assert {"tiny", "shapes"} <= {facts["name"] for facts in json.loads(capsys.readouterr().out)}


def test_what_cannot_be_done_as_asked(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encode", str(pictures / "missing.png")]) == 2
    assert "no such file" in capsys.readouterr().err
    assert main(["generate", "--label", "0", "--num-images", "2", "-o", "-"]) == 1
    assert "standard output" in capsys.readouterr().err
    assert main(["models", "--url", "nonsense"]) == 1
    assert "http://host:port" in capsys.readouterr().err


def test_streams_and_no_torch(server: Server) -> None:
    """Two processes in a pipe, as the help shows it; the client's process never imports torch."""
    watch = (
        "import sys; from service.cli.__main__ import main; code = main(); "
        "assert not {'torch', 'fastapi', 'diffusers'} & sys.modules.keys(); sys.exit(code)"
    )
    line = '"$PY" -c "$WATCH" encode - --model tiny | "$PY" -c "$WATCH" decode - --model tiny'
    environment = os.environ | {"PY": sys.executable, "WATCH": watch, "PYTHONPATH": str(ROOT)}
    source = as_file(picture(12, 20))
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", line],
        input=source,
        env=environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert as_pixels(done.stdout).shape == (12, 20, 3)
