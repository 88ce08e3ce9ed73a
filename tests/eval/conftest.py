"""A tiny random tokenizer and pictures, made here, for every test of a job."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from diffusion.model_folder import GeneratorRecord
from eval import machine
from eval.features import FIDInception
from eval.generator import Job, prepare
from eval.metrics import METRICS
from eval.metrics.fid import frechet_score, frechet_score_to_gaussian
from eval.metrics.sets import SetComparison
from eval.protocols import EvaluationProtocol, canon_v1
from eval.report import Computed, DataRecord, NotComputed, ProtocolRecord, Report, TokenizerRecord
from eval.settings import GenerateConfig
from tokenizer.config import TokenizerConfig
from tokenizer.core.checkpoint import save_folder
from tokenizer.data.video_writer import write_video
from tokenizer.loading import load

MODEL = {
    "backbone": {
        "kind": "dcae",
        "latent_channels": 4,
        "widths": [8, 8, 8],
        "encoder_depths": [0, 1, 1],
        "decoder_depths": [0, 1, 1],
        "blocks": ["res", "res", "res"],
        "decoder_norms": ["rms", "rms", "rms"],
        "decoder_activations": ["silu", "silu", "silu"],
    },
    "bottleneck": {"kind": "identity"},
}


def averages(*, paired: bool = False) -> Callable[..., SetComparison]:
    """In place of FID's network: the Frechet distance of three averages a picture, in place of a line of METRICS."""

    def extract(pictures: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(pictures.float(), 1).flatten(1)

    def load(protocol: EvaluationProtocol, *_: object) -> SetComparison:
        return SetComparison(
            protocol,
            extract,
            (),
            partial(frechet_score, protocol, paired=paired),
            score_to_gaussian=partial(frechet_score_to_gaussian, protocol),
        )

    return load


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """f4c4, random, with statistics."""
    config = TokenizerConfig.parse(MODEL)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = config.build()
    spec = model.spec.with_statistics({"z": ([0.1] * 4, [0.5] * 4)})
    folder = tmp_path_factory.mktemp("models") / "tokenizer"
    save_folder(
        folder,
        {
            "format": 1,
            "kind": "tokenizer",
            "model": config.model_dump(mode="json"),
            "spec": spec.model_dump(mode="json"),
            "licence": None,
            "figures": None,
            "preset": None,
        },
        {"model": model.state_dict()},
    )
    return folder


@pytest.fixture(scope="session")
def generator_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> Path:
    """A random DiT of one block for 32 x 32 pictures of two classes, bound to the tokenizer."""
    record = GeneratorRecord.parse(
        {
            "model": {"kind": "dit", "depth": 1, "width": 16, "heads": 2, "patch": 4},
            "generator": {"kind": "rectified_flow"},
            "spec_id": load(tokenizer_folder).spec_id,
            "latent_shape": [4, 8, 8],
            "size": [32, 32],
            "class_names": ["cat", "dog"],
        }
    )
    model = record.build()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=generator)
    folder = tmp_path_factory.mktemp("models") / "generator"
    save_folder(folder, record.model_dump(mode="json"), {"model": model.state_dict()})
    return folder


@pytest.fixture(scope="session")
def pictures_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of four smooth pictures each, 40 pixels high and 52 wide."""
    root = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / name).mkdir()
        for index in range(4):
            coarse = generator.integers(0, 256, (5, 7, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((52, 40), Image.Resampling.BICUBIC).save(
                root / name / f"{index}.png"
            )
    return root


@pytest.fixture(scope="session")
def inception_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the published Inception's layout and name, random numbers inside, classifier included."""
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in FIDInception().state_dict().items()}
    tensors = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            continue
        if name.endswith("conv.weight"):
            scale = (2.0 / shape[1:].numel()) ** 0.5
            tensors[name] = torch.randn(shape, generator=generator) * scale
        elif name.endswith(("running_var", "bn.weight")):
            tensors[name] = 0.5 + torch.rand(shape, generator=generator)
        else:
            tensors[name] = 0.1 * torch.randn(shape, generator=generator)
    path = tmp_path_factory.mktemp("weights") / "pt_inception-2015-12-05-6726825d.pth"
    torch.save(tensors, path)
    return path


@pytest.fixture
def make_report() -> Callable[..., Report]:
    """A report of seven pictures with the metrics given."""

    def make(**metrics: Computed | NotComputed) -> Report:
        return Report(
            job="reconstruct",
            protocol=ProtocolRecord.of(canon_v1(32, "fail")),
            num_images=7,
            data=DataRecord(path="pictures", resolution=32, num_found=8, num_used=7, num_upsampled=0),
            tokenizer=TokenizerRecord(
                source="demo", spec_id="ab", spec={}, num_parameters=10, dtype="float32"
            ),
            metrics=metrics,
            bits_per_pixel=2.0,
            compression_ratio=12.0,
            images_per_s=3.0,
            machine=machine.describe(torch.device("cpu")),
            commit=None,
        )

    return make


@pytest.fixture(scope="session")
def videos_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of a moving pattern, 20 and 13 frames of 32 rows and 40 columns, 30 a second."""
    root = tmp_path_factory.mktemp("videos")
    rows, columns = np.mgrid[0:32, 0:40]
    for name, count, step in (("fast", 20, 0.9), ("slow", 13, 0.2)):
        phases = [columns / 5 + rows / 9 + step * frame for frame in range(count)]
        frames = np.stack([np.stack([np.sin(phase + hue) for hue in (0, 1, 2)], axis=-1) for phase in phases])
        write_video(root / f"{name}.mp4", (frames * 100 + 128).astype(np.uint8), 30)
    return root


@pytest.fixture(scope="session")
def wan_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny AutoencoderKLWan of diffusers with random weights, f4t4c4, as a folder of theirs."""
    from tests.tokenizer.adapters.diffusers.video.theirs import wan  # diffusers is slow to import

    theirs = wan()
    folder = tmp_path_factory.mktemp("models") / "wan"
    folder.mkdir()
    config = dict(theirs.config) | {"_class_name": "AutoencoderKLWan"}
    (folder / "config.json").write_text(json.dumps(config))
    save_file(dict(theirs.state_dict()), folder / "diffusion_pytorch_model.safetensors")
    return folder


@pytest.fixture
def make_job(
    generator_folder: Path,
    tokenizer_folder: Path,
    pictures_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Job]:
    """An evaluation of the tiny generator, with averages in place of FID's features."""
    monkeypatch.setitem(METRICS, "gfid", averages())

    def make(**changes: object) -> Job:
        tree = {
            "generator": str(generator_folder),
            "tokenizer": str(tokenizer_folder),
            "data": {"path": str(pictures_folder)},
            "out": str(tmp_path / "out"),
            "num_images": 5,
            "num_steps": 2,
            "batch_size": 2,
            "shard_images": 3,
            "metrics": ["gfid"],
            "device": "cpu",
        }
        return prepare(GenerateConfig.parse(tree | changes))

    return make
