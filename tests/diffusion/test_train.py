"""Training a generator on cached latents."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import DiTTransformer2DModel

from diffusion import train as training
from diffusion.convert import write_diffusers
from diffusion.latents import LatentFolder, LatentsConfig, encode_folder
from diffusion.model_folder import load_denoiser, read_record
from diffusion.pipeline import Pipeline
from diffusion.train import train
from diffusion.training import TrainConfig
from tokenizer.core import checkpoint
from tokenizer.core.config import find_preset
from tokenizer.core.descent import DivergedError
from tokenizer.loading import load, spec_id_of

CONFIGS = Path(training.__file__).parent / "configs"
MODEL = {"kind": "dit", "depth": 2, "width": 32, "heads": 4}


def config(latents: Path, out: Path, **settings: object) -> TrainConfig:
    tree = {
        "latents": latents,
        "out": out,
        "model": MODEL,
        "images": 40,
        "batch": 4,
        "ema_half_life": 20,
        "optim": {"lr": 1e-3, "warmup_images": 8, "schedule": "cosine"},
        "log_every": 8,
        "show_every": 0,
        "save_every": 20,
    }
    return TrainConfig.parse(tree | settings)


def arguments(config: TrainConfig) -> list[str]:
    """The same run from the command line."""
    tree = config.model_dump(mode="json")
    return [f"{name}={json.dumps(value)}" for name, value in tree.items()]


def weights(folder: Path, name: str = "model") -> dict[str, torch.Tensor]:
    return checkpoint.load_tensors(checkpoint.resolve(folder) / f"{name}.safetensors")


def files(folder: Path) -> dict[str, str]:
    """sha256 of every file of the last checkpoint."""
    return {name: entry.sha256 for name, entry in checkpoint.verify(checkpoint.resolve(folder)).items()}


def scalars(folder: Path, tag: str) -> list[float]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [event.value for event in events.Scalars(tag)]


def test_training_learns_and_its_folder_is_a_generator(
    latents_folder: Path, tokenizer_folder: Path, tmp_path: Path
) -> None:
    settings = config(
        latents_folder,
        tmp_path,
        images=1280,
        batch=16,
        validation=latents_folder,
        tokenizer=str(tokenizer_folder),
        show_every=640,
        save_every=0,
        optim={"lr": 3e-3},
        show={"rows": 2, "num_steps": 2},
    )
    folder = train(settings)
    losses = scalars(tmp_path, "loss/total")
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    validation = scalars(tmp_path, "validation/loss")
    assert len(validation) == 2
    assert validation[1] < validation[0]
    assert len(list((tmp_path / "pictures").glob("samples_*.png"))) == 2
    record = read_record(folder)
    assert record.spec_id == spec_id_of(tokenizer_folder)
    assert record.class_names == ("circles", "noise", "stripes")
    assert str(tmp_path) not in (folder / "config.json").read_text()
    pipeline = Pipeline.load(tmp_path, tokenizer=tokenizer_folder)
    (picture,) = pipeline.generate("noise", seed=3, num_steps=2)
    assert picture.size == (16, 16)
    network, _ = load_denoiser(tmp_path)
    averaged = weights(tmp_path, "ema")
    assert all(torch.equal(value, averaged[name]) for name, value in network.state_dict().items())


KILLED = """
import os, signal
import diffusion.train as job
step, count = job.train_step, 0
def counted(run, batches):
    global count
    count += 1
    if count == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(run, batches)
job.train_step = counted
job.main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_ten_steps_are_five_and_kill_nine_and_five_bit_for_bit(
    latents_folder: Path, tmp_path: Path, precision: str
) -> None:
    """Killed in step 8, after the checkpoint of step 5: model, average, optimizer and position agree."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def run(out: str, *python: str) -> subprocess.CompletedProcess[str]:
        settings = config(latents_folder, tmp_path / out, precision=precision, accumulate=2)
        command = [sys.executable, *python, *arguments(settings)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert run("whole", "-m", "diffusion.train").returncode == 0
    assert run("killed", "-c", KILLED).returncode == -signal.SIGKILL
    assert checkpoint.resolve(tmp_path / "killed").name == f"{20:012d}"
    again = run("killed", "-m", "diffusion.train")
    assert again.returncode == 0, again.stderr
    assert files(tmp_path / "killed") == files(tmp_path / "whole")
    assert "trainer/optimizer.safetensors" in files(tmp_path / "whole")


@pytest.mark.slow
def test_two_processes_train_like_one(latents_folder: Path, tmp_path: Path) -> None:
    sgd = {"kind": "sgd", "lr": 0.05, "max_norm": None}
    one = config(latents_folder, tmp_path / "one", optim=sgd, images=80, batch=8)
    two = config(latents_folder, tmp_path / "two", optim=sgd, images=80, batch=8, accumulate=2)
    train(one)
    launch = ["torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command = [sys.executable, "-m", *launch, "-m", "diffusion.train", *arguments(two)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    start = weights(train(config(latents_folder, tmp_path / "start", optim={"lr": 1e-30}, images=4)))
    for name in ("model", "ema"):
        alone, together = weights(tmp_path / "one", name), weights(tmp_path / "two", name)
        assert max(float((alone[key] - together[key]).abs().max()) for key in alone) < 1e-6
    alone = weights(tmp_path / "one")
    assert max(float((alone[key] - start[key]).abs().max()) for key in alone) > 1e-2  # they moved


def test_accumulated_micro_batches_are_one_batch(latents_folder: Path, tmp_path: Path) -> None:
    sgd = {"kind": "sgd", "lr": 0.05, "max_norm": None}
    train(config(latents_folder, tmp_path / "one", optim=sgd))
    train(config(latents_folder, tmp_path / "four", optim=sgd, accumulate=4))
    one, four = weights(tmp_path / "one"), weights(tmp_path / "four")
    assert max(float((one[name] - four[name]).abs().max()) for name in one) < 1e-6


def test_the_average_is_not_the_weights_and_parameters_stay_float32(
    latents_folder: Path, tmp_path: Path
) -> None:
    train(config(latents_folder, tmp_path, precision="bf16", optim={"lr": 1e-3}))
    model, average = weights(tmp_path), weights(tmp_path, "ema")
    assert {value.dtype for value in (*model.values(), *average.values())} == {torch.float32}
    assert not torch.equal(model["unembed.weight"], average["unembed.weight"])
    moments = weights(tmp_path, "trainer/optimizer")
    assert {value.dtype for value in moments.values()} == {torch.float32}


def test_a_run_goes_on_only_with_its_own_settings_and_latents(
    latents_folder: Path, tokenizer_folder: Path, pictures: Path, tmp_path: Path
) -> None:
    folder = train(config(latents_folder, tmp_path / "run"))
    assert train(config(latents_folder, tmp_path / "run", log_every=4)) == folder  # finished already
    with pytest.raises(ValueError, match=r"seed=0, not 1"):
        train(config(latents_folder, tmp_path / "run", seed=1))
    data = {"path": pictures, "resolution": 16, "num_workers": 0}
    tree = {"tokenizer": str(tokenizer_folder), "data": data, "out": tmp_path / "other", "device": "cpu"}
    encode_folder(load(tokenizer_folder), LatentsConfig.parse(tree))
    with pytest.raises(ValueError, match=r"latents\.copies=2, not 1"):
        train(config(tmp_path / "other", tmp_path / "run"))


def test_a_tokenizer_of_another_latent_space_is_refused(
    latents_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokenizer_folder: Path
) -> None:
    other = load(tokenizer_folder)
    other.spec_id = "0123456789abcdef"
    monkeypatch.setattr(training, "load_tokenizer", lambda source, device: other)
    with pytest.raises(
        ValueError, match=f"of spec {spec_id_of(tokenizer_folder)}, the tokenizer is 0123456789"
    ):
        train(config(latents_folder, tmp_path, tokenizer="other"))


def test_training_starts_from_ours_and_from_diffusers(latents_folder: Path, tmp_path: Path) -> None:
    first = train(config(latents_folder, tmp_path / "first"))
    network, record = load_denoiser(first)
    state = network.state_dict()
    write_diffusers(tmp_path / "theirs", record.model, record.latent_shape, 3, state)
    assert isinstance(DiTTransformer2DModel.from_pretrained(tmp_path / "theirs"), DiTTransformer2DModel)
    for name, source in (("a", first), ("b", tmp_path / "theirs")):
        train(config(latents_folder, tmp_path / name, init=str(source), optim={"lr": 1e-30}, images=4))
        started = weights(tmp_path / name)
        assert all(torch.equal(started[key], state[key]) for key in state)
    with pytest.raises(ValueError, match=r"init=.* 3 classes; this run trains .*depth=1"):
        train(config(latents_folder, tmp_path / "c", init=str(first), model=MODEL | {"depth": 1}))


def test_steps_that_are_not_finite_are_skipped_and_end_the_run(
    latents_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        training.Objective,
        "forward",
        lambda self, z, y, keys: self.network.unembed.weight.sum() * float("nan"),
    )
    train(config(latents_folder, tmp_path / "short", optim={"lr": 1.0}))
    assert scalars(tmp_path / "short", "train/skipped") == [1.0] * 5
    assert float(weights(tmp_path / "short")["unembed.weight"].abs().max()) == 0.0  # as initialised
    with pytest.raises(DivergedError, match="20 steps in a row were not finite"):
        train(config(latents_folder, tmp_path / "long", images=400, save_every=0))


@pytest.mark.parametrize("preset", sorted(path.stem for path in CONFIGS.glob("*.yaml")))
def test_presets_are_valid(preset: str) -> None:
    settings = TrainConfig.load(find_preset(preset, CONFIGS), ["latents=a", "out=b"])
    shape = (32, 16, 16) if preset.startswith("dit_xl") else (32, 8, 8)
    with torch.device("meta"):
        network = settings.model.build(latent_shape=shape, num_classes=10)
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    if preset == "dit_demo":
        assert millions <= 12


def test_what_a_batch_sees_is_in_the_data(latents_folder: Path) -> None:
    """The loss of the first step is the loss on the latents that the order names."""
    folder = LatentFolder(latents_folder)
    order = training.LatentOrder(folder, seed=0)
    positions = training.Positions(0, 8, 4)
    batches = list(training.batches_of(order, positions, num_workers=0))
    assert [tuple(batch["z"].shape) for batch in batches] == [(4, 8, 4, 4)] * 2
    assert torch.equal(batches[1]["z"][2], order[6]["z"])
    assert int(batches[1]["key"][2]) == int(order[6]["key"])


def test_settings_that_cannot_work_are_refused(latents_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="batch must be a multiple of accumulate"):
        config(latents_folder, tmp_path, accumulate=3)
    with pytest.raises(ValueError, match="patch 3 does not divide"):
        train(config(latents_folder, tmp_path, model=MODEL | {"patch": 3}))
