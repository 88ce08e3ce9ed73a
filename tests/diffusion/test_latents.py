"""The cached data set of latents."""

import hashlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from diffusion.latents import INFO, LatentFolder, LatentOrder, LatentsConfig, encode_folder, main
from tokenizer.core.parts import Parts
from tokenizer.data.images import Images
from tokenizer.data.pack import PackConfig, pack
from tokenizer.data.transforms import to_pixels
from tokenizer.loading import load, spec_id_of
from tokenizer.model import Autoencoder

Make = Callable[..., LatentsConfig]


def shard_path(folder: Path, index: int) -> Path:
    return Parts(folder, {}).path(index)


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def test_latents_are_those_of_the_tokenizer(tokenizer_folder: Path, latents_config: Make) -> None:
    config = latents_config()
    tokenizer = load(tokenizer_folder)
    encode_folder(tokenizer, config)
    folder = LatentFolder(config.out)
    images = Images(config.data.path, 16)
    assert len(folder) == len(images) == 12
    assert folder.info.spec_id == spec_id_of(tokenizer_folder)
    assert folder.info.class_names == ("circles", "noise", "stripes")
    assert folder.info.latent_shape == (8, 4, 4)
    for index in (0, 4, 5, 11):  # both sides of a border between shards
        z, label = folder[index]
        expected = tokenizer.encode(to_pixels(images[index]["data"][None])).z[0]
        assert torch.allclose(z, expected, atol=1e-5)
        assert int(label) == images.source.label(index)
    with pytest.raises(IndexError, match="latent 12 of 12"):
        folder[12]


def test_latents_of_shards_are_those_of_the_folder(
    tokenizer_folder: Path, latents_config: Make, tmp_path: Path
) -> None:
    tokenizer, config = load(tokenizer_folder), latents_config()
    pack(PackConfig(path=config.data.path, out=tmp_path / "shards", shard_images=5))
    data = {"path": tmp_path / "shards", "resolution": 16, "num_workers": 0}
    encode_folder(tokenizer, config)
    encode_folder(tokenizer, latents_config(data=data, out=tmp_path / "of_shards"))
    one, two = LatentFolder(config.out), LatentFolder(tmp_path / "of_shards")
    assert two.info.class_names == one.info.class_names == ("circles", "noise", "stripes")
    assert two.info.pictures != one.info.pictures  # other files: neither folder goes on as the other
    for index in range(12):
        assert all(torch.equal(a, b) for a, b in zip(one[index], two[index], strict=True))


def test_mirrored_copies_follow_their_pictures(tokenizer_folder: Path, latents_config: Make) -> None:
    config = latents_config(flip=True)
    tokenizer = load(tokenizer_folder)
    encode_folder(tokenizer, config)
    folder = LatentFolder(config.out)
    images = Images(config.data.path, 16)
    assert len(folder) == 24
    for index in (0, 7):
        x = to_pixels(images[index]["data"][None])
        for copy, view in enumerate((x, x.flip(-1))):
            z, label = folder[2 * index + copy]
            assert torch.allclose(z, tokenizer.encode(view).z[0], atol=1e-5)
            assert int(label) == images.source.label(index)


@pytest.mark.parametrize(("storage", "error"), [("bfloat16", 2**-8), ("float16", 2**-11)])
def test_stored_in_half_the_bytes(
    tokenizer_folder: Path, latents_config: Make, tmp_path: Path, storage: str, error: float
) -> None:
    tokenizer = load(tokenizer_folder)
    encode_folder(tokenizer, latents_config())
    encode_folder(tokenizer, latents_config(storage=storage, out=tmp_path / "half"))
    whole, half = LatentFolder(tmp_path / "latents")[3][0], LatentFolder(tmp_path / "half")[3][0]
    assert half.dtype == torch.float32
    assert torch.allclose(half, whole, rtol=error, atol=1e-6)
    assert not torch.equal(half, whole)


class Interrupted(Autoencoder):
    """A tokenizer that fails after some calls."""

    calls = 0

    def encode(self, *args: object, **options: object) -> object:  # type: ignore[override]
        Interrupted.calls -= 1
        if Interrupted.calls < 0:
            raise KeyboardInterrupt
        return super().encode(*args, **options)  # type: ignore[arg-type]


def test_an_interrupted_run_goes_on_and_ends_bit_identical(
    tokenizer_folder: Path, latents_config: Make, tmp_path: Path
) -> None:
    encode_folder(load(tokenizer_folder), latents_config(out=tmp_path / "whole"))
    tokenizer = load(tokenizer_folder)
    tokenizer.__class__ = Interrupted
    Interrupted.calls = 4  # the first shard takes three batches
    config = latents_config(out=tmp_path / "halves")
    with pytest.raises(KeyboardInterrupt):
        encode_folder(tokenizer, config)
    assert shard_path(config.out, 0).is_file()
    assert not shard_path(config.out, 1).is_file()
    with pytest.raises(ValueError, match=r"not finished \(1 of 3 shards\)"):
        LatentFolder(config.out)
    first = shard_path(config.out, 0).stat().st_mtime_ns
    encode_folder(load(tokenizer_folder), config)
    assert shard_path(config.out, 0).stat().st_mtime_ns == first  # kept, not made again
    assert digests(tmp_path / "halves") == digests(tmp_path / "whole")


def test_a_damaged_shard_is_named_and_made_again(
    tokenizer_folder: Path, latents_config: Make, caplog: pytest.LogCaptureFixture
) -> None:
    config = latents_config()
    tokenizer = load(tokenizer_folder)
    encode_folder(tokenizer, config)
    before = digests(config.out)
    altered, cut = shard_path(config.out, 0), shard_path(config.out, 2)
    data = bytearray(altered.read_bytes())
    data[-1] ^= 1
    altered.write_bytes(data)
    cut.write_bytes(cut.read_bytes()[:-7])
    with caplog.at_level(logging.WARNING):
        encode_folder(tokenizer, config)
    assert "shard-00000.safetensors does not verify" in caplog.text
    assert "shard-00002.safetensors is damaged" in caplog.text
    assert digests(config.out) == before


def test_latents_of_another_tokenizer_are_refused_naming_both(
    tokenizer_folder: Path, latents_config: Make, tmp_path: Path
) -> None:
    config = latents_config()
    tokenizer = load(tokenizer_folder)
    encode_folder(tokenizer, config)
    other = load(tokenizer_folder)
    other.spec_id = "0123456789abcdef"
    with pytest.raises(ValueError, match=f"of spec {tokenizer.spec_id}, this tokenizer is 0123456789abcdef"):
        encode_folder(other, config)
    with pytest.raises(ValueError, match="copies=1, this command makes 2"):
        encode_folder(tokenizer, latents_config(flip=True))


def test_other_pictures_are_refused(tokenizer_folder: Path, latents_config: Make, tmp_path: Path) -> None:
    moved = shutil.copytree(latents_config().data.path, tmp_path / "copy")
    data = {"path": moved, "resolution": 16, "num_workers": 0}
    encode_folder(load(tokenizer_folder), latents_config(data=data))
    next(moved.rglob("*.png")).unlink()
    with pytest.raises(ValueError, match="num_images=12, this command makes 11"):
        encode_folder(load(tokenizer_folder), latents_config(data=data))


def test_tokenizers_without_identity_or_statistics_are_refused(
    tokenizer_folder: Path, latents_config: Make
) -> None:
    tokenizer = load(tokenizer_folder)
    tokenizer.spec_id = ""
    with pytest.raises(ValueError, match="has no spec_id"):
        encode_folder(tokenizer, latents_config())
    tokenizer = load(tokenizer_folder)
    tokenizer.spec = tokenizer.spec.with_statistics(None)
    with pytest.raises(ValueError, match=r"python -m tokenizer\.stats"):
        encode_folder(tokenizer, latents_config())


def test_a_picture_that_cannot_be_read_is_replaced_and_named(
    tokenizer_folder: Path, latents_config: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damaged = shutil.copytree(latents_config().data.path, tmp_path / "damaged")
    victim = sorted(damaged.rglob("*.png"))[1]
    victim.write_bytes(b"not a picture")
    config = latents_config(data={"path": damaged, "resolution": 16, "num_workers": 0})
    with caplog.at_level(logging.WARNING):
        encode_folder(load(tokenizer_folder), config)
    assert str(victim) in caplog.text
    folder = LatentFolder(config.out)
    assert torch.allclose(folder[1][0], folder[2][0], atol=1e-6)


def test_training_order_is_a_function_of_seed_and_position(latents_folder: Path) -> None:
    folder = LatentFolder(latents_folder)
    order = LatentOrder(folder, seed=1)
    epoch = [order[position] for position in range(24)]
    again = LatentOrder(LatentFolder(latents_folder), seed=1)
    for position in (17, 3, 40):  # any order of access
        assert torch.equal(again[position]["z"], order[position]["z"])
        assert int(again[position]["key"]) == int(order[position]["key"])
    wanted = sorted(float(folder[index][0].sum()) for index in range(24))
    assert sorted(float(sample["z"].sum()) for sample in epoch) == wanted  # every latent once
    keys = {int(order[position]["key"]) for position in range(72)}
    assert len(keys) == 72  # a latent's key changes with the epoch
    assert int(LatentOrder(folder, seed=2)[0]["key"]) not in keys


@pytest.mark.slow
def test_the_command_survives_kill_nine(tokenizer_folder: Path, pictures: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "diffusion.latents", f"tokenizer={tokenizer_folder}", "device=cpu"]
    command += [
        f"data.path={pictures}",
        "data.resolution=16",
        "data.num_workers=0",
        "batch=1",
        "shard_images=1",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*command, f"out={tmp_path / 'whole'}"], check=True, env=environment, capture_output=True)
    process = subprocess.Popen(
        [*command, f"out={tmp_path / 'killed'}"], env=environment, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not shard_path(tmp_path / "killed", 0).is_file() and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = subprocess.run(
        [*command, f"out={tmp_path / 'killed'}"], check=True, env=environment, capture_output=True, text=True
    )
    assert f"12 latents (8, 4, 4) of spec {spec_id_of(tokenizer_folder)}" in done.stdout
    assert {
        name: value for name, value in digests(tmp_path / "killed").items() if not name.startswith(".")
    } == (digests(tmp_path / "whole"))


def test_the_command_explains_a_refusal_in_one_line(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["tokenizer=nowhere", f"data.path={pictures}", "data.resolution=16", f"out={tmp_path}"])
    assert "diffusion.latents: no tokenizer 'nowhere'" in capsys.readouterr().err
    with pytest.raises(ValueError, match=INFO):
        LatentFolder(tmp_path)
