"""Every preset loads, comes back from JSON unchanged, builds a model that fits it, and is documented."""

import re
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode  # documented under "Fake tensor", kept in this place

from diffusion.training import TrainConfig as GeneratorTraining
from eval.compare.settings import CompareConfig
from eval.curve.settings import CurveConfig
from eval.downstream.settings import DownstreamConfig
from eval.serving.settings import ServingConfig
from eval.settings import GenerateConfig, ReconstructConfig
from eval.throughput import ThroughputConfig
from eval.training_speed import TrainingSpeedConfig
from eval.video.settings import ReconstructVideoConfig
from tokenizer.core.config import Config
from tokenizer.core.trained import choose_trained
from tokenizer.train import frames_of
from tokenizer.training import TrainConfig as TokenizerTraining

ROOT = Path(__file__).parents[1]
PRESETS = sorted(ROOT.glob("*/configs/**/*.yaml"))
# The job that a preset's first lines name, and what a person adds to it on the command line.
JOBS: dict[str, tuple[type[Config], list[str]]] = {
    "tokenizer.train": (TokenizerTraining, ["data.path=pictures", "out=run"]),
    "diffusion.train": (GeneratorTraining, ["latents=latents", "out=run"]),
    "eval.reconstruct": (ReconstructConfig, ["tokenizer=demo", "data.path=pictures", "out=report"]),
    "eval.reconstruct_video": (ReconstructVideoConfig, ["tokenizer=demo", "data.path=videos", "out=report"]),
    "eval.generate": (GenerateConfig, ["generator=demo", "data.path=pictures", "out=report"]),
    "eval.compare": (CompareConfig, ["data.path=pictures", "data.validation=others", "out=report"]),
    "eval.curve": (CurveConfig, ["comparison=compared", "out=report"]),
    "eval.downstream": (
        DownstreamConfig,
        ["comparison=compared", "data.path=pictures", "data.validation=others", "out=report"],
    ),
    "eval.serving": (ServingConfig, ["out=report"]),
    "eval.throughput": (ThroughputConfig, ["out=report"]),
    "eval.training_speed": (TrainingSpeedConfig, ["out=report"]),
}


def job_of(path: Path) -> str:
    """The job in the command that stands at the top of a preset: ``-m tokenizer.train NAME ...``."""
    found = re.search(rf"-m (\S+) {path.stem}\b", path.read_text())
    assert found, f"{path.name} does not say the command that it is for"
    return found[1]


def load(path: Path) -> Config:
    schema, arguments = JOBS[job_of(path)]
    return schema.load(path, arguments)


def presets(schema: type[Config]) -> list[Path]:
    return [path for path in PRESETS if JOBS[job_of(path)][0] is schema]


def package_of(path: Path) -> Path:
    return ROOT / path.relative_to(ROOT).parts[0]


def identify(path: Path) -> str:
    return f"{package_of(path).name}-{path.stem}"


@pytest.mark.parametrize("path", PRESETS, ids=identify)
def test_preset_loads_and_comes_back_from_json(path: Path) -> None:
    config = load(path)
    assert type(config).model_validate_json(config.to_json()) == config
    assert job_of(path).split(".")[0] == package_of(path).name


@pytest.mark.parametrize("path", PRESETS, ids=identify)
def test_preset_is_in_its_readme(path: Path) -> None:
    assert f"`{path.stem}`" in (package_of(path) / "README.md").read_text()


@pytest.mark.parametrize("path", presets(TokenizerTraining), ids=identify)
def test_tokenizer_takes_its_pictures_and_trains_what_its_phases_name(path: Path) -> None:
    """Fake tensors have shapes and no values, so the largest model costs nothing."""
    config = load(path)
    assert isinstance(config, TokenizerTraining)
    if config.model is None:
        return  # it starts from another tokenizer, which brings its model
    with FakeTensorMode():
        model = config.model.build()
        for phase in config.phases:
            choose_trained(model, phase.train)
        side, frames = config.phases[0].resolution, frames_of(model, config.phases[0])
        size = (side, side) if frames is None else (frames, side, side)
        step = model.eval()(torch.empty(1, 3, *size))
    assert step.x_hat.shape == (1, 3, *size)
    assert step.z.shape[1:] == model.spec.shape(size)["z"]


@pytest.mark.parametrize("path", presets(GeneratorTraining), ids=identify)
def test_generator_answers_with_a_velocity(path: Path) -> None:
    config = load(path)
    assert isinstance(config, GeneratorTraining)
    with FakeTensorMode():
        network = config.model.build(latent_shape=(32, 16, 16), num_classes=10)
        z_t = torch.empty(2, 32, 16, 16)
        assert network(z_t, torch.empty(2), torch.empty(2, dtype=torch.long)).shape == z_t.shape
