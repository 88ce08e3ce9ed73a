"""The loop: exact resume, processes that agree, and the defects that other trainers have.

The names of the tests of defects say what went wrong elsewhere, turned round.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from tokenizer import train as loop
from tokenizer.core import checkpoint
from tokenizer.core.descent import DivergedError
from tokenizer.loading import load, load_folder
from tokenizer.train import train
from tokenizer.training import TrainConfig

ROOT = Path(__file__).parents[2]
Settings = Callable[..., dict[str, Any]]

SGD = {"kind": "sgd", "lr": 0.05}
ADVERSARY = {
    "weight": 0.1,
    "width": 8,
    "num_layers": 1,
    "lecam": 0.1,
    "lecam_half_life": 20,
    "r1": 0.1,
    "r1_every": 8,
    "augment": ["color", "translation", "cutout"],
}
# `accelerate launch --cpu --num_processes=2` starts one process where there is no MPI; torchrun starts two.
TWO_PROCESSES = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")


def start(settings: dict[str, Any], folder: Path, *launcher: str) -> subprocess.Popen[bytes]:
    """The command a user types, on one thread."""
    folder.mkdir(parents=True, exist_ok=True)
    preset = folder / "preset.yaml"
    preset.write_text(yaml.safe_dump(settings))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    environment["ACCELERATE_USE_CPU"] = "true"
    command = [sys.executable, *launcher, "-m", "tokenizer.train", str(preset)]
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)


def finish(process: subprocess.Popen[bytes], folder: Path) -> None:
    assert process.wait(timeout=240) == 0, (folder / "log.txt").read_text()


def tensors_of(folder: Path) -> dict[str, Tensor]:
    """Everything in a checkpoint, by file and name."""
    found = {}
    for file in sorted(folder.rglob("*.safetensors")):
        for name, value in checkpoint.load_tensors(file).items():
            found[f"{file.relative_to(folder)}:{name}"] = value
    return found


def phases(count: int = 1) -> list[dict[str, Any]]:
    """Phases of 20 steps of 4 pictures; from the second half of the first on with an adversary."""
    first = {"resolution": 16, "images": 80, "batch": 4, "accumulate": 2, "losses": [{"kind": "l1"}]}
    first["adversary"] = ADVERSARY | {"start_images": 8}
    head = {"resolution": 32, "images": 40, "batch": 4, "train": ["decoder.project_out.*"]}
    return [first, head][:count]


@pytest.mark.slow
def test_kill_9_and_the_same_command_again_end_bit_identical(tiny_run: Settings, tmp_path: Path) -> None:
    """Both optimizers, the average, the discriminator and the position in the data included, across two phases."""
    settings = tiny_run(phases=phases(2), save_every=8, keep=100, channels_last=True)
    whole = settings | {"out": str(tmp_path / "whole/run")}
    finish(start(whole, tmp_path / "whole"), tmp_path / "whole")
    broken = settings | {"out": str(tmp_path / "broken/run")}
    for position in (24, 96):  # once in each phase
        process = start(broken, tmp_path / "broken")
        target = tmp_path / f"broken/run/checkpoints/{position:012d}"
        deadline = time.monotonic() + 200
        while not target.exists():
            assert process.poll() is None, (tmp_path / "broken/log.txt").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "broken/run/checkpoints/000000000120").exists(), (
            "it was not killed in the middle"
        )
    finish(start(broken, tmp_path / "broken"), tmp_path / "broken")
    one, two = (tensors_of(tmp_path / name / "run/checkpoints/000000000120") for name in ("whole", "broken"))
    assert one.keys() == two.keys()
    assert any(name.startswith("trainer/discriminator_optimizer") for name in tensors_of(middle(tmp_path)))
    assert [name for name in one if not torch.equal(one[name], two[name])] == []
    specs = [load(tmp_path / name / "run").spec for name in ("whole", "broken")]
    assert specs[0] == specs[1]
    assert specs[0].has_statistics


def middle(tmp_path: Path) -> Path:
    """A checkpoint inside the first phase, where the adversary plays."""
    return tmp_path / "whole/run/checkpoints/000000000040"


@pytest.mark.slow
@pytest.mark.parametrize(("steps", "adversary"), [(10, None), (2, ADVERSARY | {"optim": SGD})])
def test_two_processes_equal_one(
    steps: int, adversary: dict[str, Any] | None, tiny_run: Settings, tmp_path: Path
) -> None:
    """SGD steps on the same global batch; if the wrapper were bypassed, gradients would not be shared.

    Two steps against an adversary: the order of a sum differs, and an adaptive weight magnifies that every time.
    """
    phase = {"resolution": 16, "images": 4 * steps, "batch": 4, "losses": [{"kind": "l2"}]}
    phase["adversary"] = adversary
    settings = tiny_run(phases=[phase], optim=SGD | {"max_norm": 1.0})
    settings["model"]["backbone"] = settings["model"]["backbone"] | {"decoder_norms": ["rms", "rms", "rms"]}
    for name, launcher in (("one", ()), ("two", TWO_PROCESSES)):
        mine = settings | {"out": str(tmp_path / name / "run")}
        finish(start(mine, tmp_path / name, *launcher), tmp_path / name)
    assert (tmp_path / "two/log.txt").read_text().count("trained: ") == 2  # each process says so
    last = f"run/checkpoints/{4 * steps:012d}"
    one, two = (tensors_of(tmp_path / name / last) for name in ("one", "two"))
    assert one.keys() == two.keys()
    worst = max(float((one[name].double() - two[name].double()).abs().max()) for name in one)
    assert worst < 1e-6
    torch.manual_seed(loop.seeding.key(0, "init"))
    fresh = TrainConfig.parse(settings).model.build().state_dict()  # type: ignore[union-attr]  # it has a model
    assert max(float((fresh[name] - one[f"model.safetensors:{name}"]).abs().max()) for name in fresh) > 1e-3


def test_it_learns_and_leaves_a_model(tiny_run: Settings) -> None:
    settings = tiny_run(log_every=8, show_every=20)
    folder = train(TrainConfig.parse(settings))
    model = load(folder)
    assert model.spec.has_statistics
    assert model.projection is not None
    assert model.spec_id
    run = Path(settings["out"])
    assert load(run).spec_id == model.spec_id  # the run's folder is its latest checkpoint
    assert list((run / "tensorboard").iterdir())
    assert sorted(path.name for path in (run / "pictures").iterdir()) == [
        "reconstructions_16_000000020.png",
        "reconstructions_16_000000040.png",
    ]
    again = train(TrainConfig.parse(settings))  # nothing is left to do
    assert again == folder


def test_same_preset_and_seed_same_loss(
    tiny_run: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[list[float]] = []
    step = loop.train_step

    def watched(*args: Any) -> dict[str, Tensor]:
        values = step(*args)
        seen[-1].append(float(values["loss/total"]))
        return values

    monkeypatch.setattr(loop, "train_step", watched)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        seen.append([])
        train(TrainConfig.parse(tiny_run(out=str(tmp_path / name), seed=seed)))
    assert seen[0] == seen[1]
    assert seen[0] != seen[2]
    assert seen[0][-1] < seen[0][0]


def test_parameters_stay_float32_under_bf16(tiny_run: Settings) -> None:
    folder = train(TrainConfig.parse(tiny_run(precision="bf16")))
    assert {value.dtype for value in checkpoint.load_tensors(folder / "model.safetensors").values()} <= {
        torch.float32,
        torch.int64,
    }


def test_channels_last_changes_the_memory_and_not_the_result(tiny_run: Settings, tmp_path: Path) -> None:
    phase = {"resolution": 16, "images": 12, "batch": 4, "losses": [{"kind": "l1"}]}
    settings = tiny_run(phases=[phase], optim={"kind": "sgd", "lr": 0.05})
    weights = []
    for last in (False, True):
        config = TrainConfig.parse(settings | {"out": str(tmp_path / str(last)), "channels_last": last})
        weights.append(checkpoint.load_tensors(train(config) / "model.safetensors"))
    model = loop.to_device(config.model.build(), config, loop.build_accelerator(0, deterministic=False))  # type: ignore[union-attr]  # it has a model
    assert any(not parameter.is_contiguous() for parameter in model.parameters())
    assert max(float((weights[0][name] - weights[1][name]).abs().max()) for name in weights[0]) < 1e-5


def test_only_the_named_parameters_move_and_frozen_norms_keep_their_statistics(tiny_run: Settings) -> None:
    config = TrainConfig.parse(tiny_run(phases=phases(2)[1:]))
    assert config.model is not None
    torch.manual_seed(loop.seeding.key(config.seed, "init"))
    before = config.model.build().state_dict()
    after = checkpoint.load_tensors(train(config) / "model.safetensors")
    assert any(name.endswith("running_mean") for name in after)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.startswith("decoder.project_out.") for name in moved)


def test_statistics_are_cleared_when_the_latent_space_moves(tiny_run: Settings, tmp_path: Path) -> None:
    """A decoder-only fine-tune keeps the latent space: statistics and all; training the encoder clears them."""
    first = train(TrainConfig.parse(tiny_run()))
    spec = load(first).spec
    head = tiny_run(model=None, init=str(first), out=str(tmp_path / "head"), phases=phases(2)[1:])
    assert load(train(TrainConfig.parse(head))).spec == spec
    full = tiny_run(model=None, init=str(first), out=str(tmp_path / "full"), save_every=20, keep=9)
    last = train(TrainConfig.parse(full))
    assert not load_folder(last.parent / "000000000020").spec.has_statistics
    assert load(last).spec.has_statistics
    assert load(last).spec != spec


def test_other_settings_in_the_same_folder_are_refused(tiny_run: Settings) -> None:
    train(TrainConfig.parse(tiny_run()))
    with pytest.raises(ValueError, match=r"optim\.lr=0\.01, not 0\.02"):
        train(TrainConfig.parse(tiny_run(optim={"lr": 0.02})))
    train(TrainConfig.parse(tiny_run(save_every=10)))  # how often it saves may change


def test_a_resolution_that_does_not_fit_is_refused_before_any_picture_is_read(tiny_run: Settings) -> None:
    settings = tiny_run(data={"path": "/nowhere"})
    settings["phases"][0]["resolution"] = 18
    with pytest.raises(ValueError, match="no multiple of the model's factor 4"):
        train(TrainConfig.parse(settings))


def test_a_missing_lpips_weight_is_a_clear_error(tiny_run: Settings) -> None:
    settings = tiny_run()
    settings["phases"][0]["losses"] = [{"kind": "l1"}, {"kind": "lpips", "net": "vgg"}]
    with pytest.raises(ValueError, match="vgg16-397923af.pth"):
        train(TrainConfig.parse(settings))


def test_a_step_that_is_not_finite_is_skipped_and_moves_nothing(
    tiny_run: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = {"count": 0}
    real = loop.to_pixels

    def poisoned(data: Tensor) -> Tensor:
        calls["count"] += 1
        return real(data) * (float("nan") if calls["count"] == 3 else 1.0)

    settings = tiny_run()
    monkeypatch.setattr(loop, "to_pixels", poisoned)
    folder = train(TrainConfig.parse(settings))
    assert calls["count"] == 10
    state = checkpoint.load_tensors(folder / "model.safetensors")
    assert any(name.endswith("running_mean") for name in state)  # a batch norm would keep a NaN for ever
    assert all(torch.isfinite(value).all() for value in state.values())
    steps = checkpoint.load_tensors(folder / "trainer/optimizer.safetensors")["0.step"]
    assert int(steps) == 9


@pytest.mark.parametrize(
    "bottleneck",
    [
        {"kind": "vq", "codebook_size": 8, "revival": "cvq", "initialization": "batch"},
        {"kind": "vq", "codebook_size": 8, "update": "ema", "revival": "reset"},
    ],
    ids=["learned", "running"],
)
def test_a_step_that_is_skipped_leaves_codebooks_as_they_were(
    bottleneck: dict[str, Any], tiny_run: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finite pass moves codes, buffers and parameters alike; only then is the step found to be worth nothing."""
    states: list[dict[str, Tensor]] = []
    finite = loop.Descent.step

    def watched(descent: Any, images: int) -> float | None:
        model = descent.accelerator.unwrap_model(descent.module).model
        if len(states) == 2:
            descent.backward(next(model.decoder.parameters()).sum() * float("nan"))
        norm = finite(descent, images)
        states.append({name: value.clone() for name, value in model.bottleneck.state_dict().items()})
        return norm

    settings = tiny_run()
    settings["model"] = settings["model"] | {"bottleneck": bottleneck}
    settings["phases"][0] |= {"images": 16, "losses": [{"kind": "l1"}, {"kind": "bottleneck"}]}
    monkeypatch.setattr(loop.Descent, "step", watched)
    after: list[dict[str, Tensor]] = []
    real = loop.train_step

    def step(run: Any, *arguments: Any) -> dict[str, Tensor]:
        values = real(run, *arguments)
        after.append({name: value.clone() for name, value in run.model.bottleneck.state_dict().items()})
        return values

    monkeypatch.setattr(loop, "train_step", step)
    train(TrainConfig.parse(settings))
    assert not torch.equal(states[2]["book.codebook"], after[1]["book.codebook"])  # the pass had moved them
    assert all(torch.equal(value, after[1][name]) for name, value in after[2].items())
    assert not torch.equal(after[3]["book.codebook"], after[2]["book.codebook"])


@pytest.mark.slow
@pytest.mark.parametrize("update", ["gradient", "ema"])
def test_a_codebook_on_two_processes_equals_one(update: str, tiny_run: Settings, tmp_path: Path) -> None:
    """Codes, running statistics and revived codes after five steps, through the wrapper that shares gradients."""
    phase = {"resolution": 16, "images": 40, "batch": 4, "losses": [{"kind": "l1"}, {"kind": "bottleneck"}]}
    settings = tiny_run(phases=[phase], optim={"kind": "sgd", "lr": 0.05, "max_norm": 1.0})
    settings["model"]["backbone"] = settings["model"]["backbone"] | {"decoder_norms": ["rms", "rms", "rms"]}
    settings["model"]["bottleneck"] = {
        "kind": "vq",
        "codebook_size": 12,
        "update": update,
        "revival": "reset",
        "decay": 0.6,
        "dead_below": 0.3,
        "initialization": "batch",
    }
    for name, launcher in (("one", ()), ("two", TWO_PROCESSES)):
        mine = settings | {"out": str(tmp_path / name / "run")}
        finish(start(mine, tmp_path / name, *launcher), tmp_path / name)
    assert (tmp_path / "two/log.txt").read_text().count("trained: ") == 2  # each process says so
    one, two = (tensors_of(tmp_path / name / "run/checkpoints/000000000020") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, value in one.items():  # sums over features grow with their number: to rounding of their range
        far = float((value.double() - two[name].double()).abs().max())
        assert far <= 1e-5 * max(1.0, float(value.abs().max())), name


def test_a_run_that_goes_on_remembers_how_many_steps_it_skipped_in_a_row(
    tiny_run: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """12 of them, an interruption, and the eighth after it is the twentieth: the run stops."""
    phase = {"resolution": 16, "images": 120, "batch": 4, "losses": [{"kind": "l1"}]}
    config = TrainConfig.parse(tiny_run(phases=[phase], save_every=8))
    real, calls = loop.to_pixels, {"count": 0}

    def poisoned(data: Tensor) -> Tensor:
        calls["count"] += 1
        if calls["count"] == 13:
            raise KeyboardInterrupt
        return real(data) * float("nan")

    monkeypatch.setattr(loop, "to_pixels", poisoned)
    with pytest.raises(KeyboardInterrupt):
        train(config)
    with pytest.raises(DivergedError, match="20 steps in a row were not finite, the last after 76 images"):
        train(config)


def test_the_last_checkpoint_says_how_it_was_made(tiny_run: Settings) -> None:
    settings = tiny_run()
    folder = train(TrainConfig.parse(settings))
    config = checkpoint.read_config(folder)
    assert TrainConfig.parse(config["preset"]) == TrainConfig.parse(settings)
    assert json.loads((folder / "trainer/state.json").read_text()) == {"images": 40, "skipped": 0}
