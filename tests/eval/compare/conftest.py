"""Training presets of a few thousand parameters, and comparisons of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from eval.compare.record import Comparison, MemberRow, Point, ReferenceRow, Values
from eval.compare.settings import CompareConfig

BACKBONE: dict[str, Any] = {
    "kind": "dcae",
    "latent_channels": 4,
    "widths": [8, 8, 8],
    "encoder_depths": [0, 1, 1],
    "decoder_depths": [0, 1, 1],
    "blocks": ["res", "res", "res"],
    "decoder_norms": ["rms", "rms", "rms"],
    "decoder_activations": ["silu", "silu", "silu"],
}
PHASE: dict[str, Any] = {"resolution": 16, "images": 100, "batch": 4}


def preset(**changes: Any) -> dict[str, Any]:
    """A training preset as YAML has it."""
    return {
        "model": {"backbone": BACKBONE},
        "phases": [PHASE],
        "optim": {"lr": 5e-3, "warmup_images": 20},
        "ema_half_life": 10,
        "statistics_images": 8,
    } | changes


@pytest.fixture(scope="session")
def presets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Presets ``micro`` (f4c4), ``micro_fsq`` (180 codes, two phases) and ``broken`` (no such start)."""
    folder = tmp_path_factory.mktemp("presets")
    fsq = {"backbone": BACKBONE, "bottleneck": {"kind": "fsq", "levels": [4, 3, 5, 3]}}
    second = PHASE | {
        "name": "sharpen",
        "images": 20,
        "train": ["decoder.project_out.*"],
        "optim": {"lr": 1e-3},
    }
    trees = {
        "micro": preset(),
        "micro_fsq": preset(model=fsq, phases=[PHASE, second]),
        "broken": {key: value for key, value in preset(init="no/such/tokenizer").items() if key != "model"},
    }
    for name, tree in trees.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(tree))
    return folder


@pytest.fixture
def tree(presets: Path, photographs: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """A comparison of ``micro`` and ``micro_fsq`` for 64 images of 32 x 32; keyword arguments replace keys."""

    def make(**changes: Any) -> dict[str, Any]:
        return {
            "members": [str(presets / "micro.yaml"), str(presets / "micro_fsq.yaml")],
            "data": {
                "path": str(photographs / "rings"),
                "validation": str(photographs / "waves"),
                "num_workers": 0,
                "max_images": 8,
            },
            "out": str(tmp_path / "out"),
            "images": 64,
            "resolution": 32,
            "batch": 8,
            "device": "cpu",
            "gallery": 2,
        } | changes

    return make


@pytest.fixture
def config(tree: Callable[..., dict[str, Any]]) -> Callable[..., CompareConfig]:
    """The same, parsed."""

    def make(**changes: Any) -> CompareConfig:
        return CompareConfig.parse(tree(**changes))

    return make


@pytest.fixture
def comparison(make_report: Callable[..., Any]) -> Callable[..., Comparison]:
    """A record made by hand: two members at 4096 and 640 bits of 32 x 32 pixels, one that failed, references.

    Keyword arguments replace fields.
    """

    def make(**changes: Any) -> Comparison:
        report = make_report()
        continuous = {
            "bits_per_pixel": 4.0,
            "psnr": 28.5,
            "tokens": 64,
            "latent_rms": 1.25,
            "gain": 2.5,
            "images": 64,
        }
        discrete = {
            "bits_per_pixel": 0.625,
            "psnr": 24.0,
            "codebook_size": 1024,
            "codebook_use": 0.5,
            "gain": -0.5,
        }
        fields: dict[str, Any] = {
            "command": "python -m eval.compare some data.path=PICTURES",
            "budget": "64 images",
            "resolution": 32,
            "protocol": report.protocol,
            "data": report.data,
            "training_pictures": {"count": 24, "sha256": "ab" * 32},
            "members": (
                row("plain", "done", 4096.0, continuous, {"lpips_vgg": "needs a file; put it there"}),
                row("codes", "done", 640.0, discrete, {"lpips_vgg": "needs a file; put it there"}),
                MemberRow(label="<broken>", preset="x", status="failed", why="no tokenizer 'x' | <b>"),
            ),
            "references": (
                ReferenceRow(
                    kind="floor",
                    budget=640.0,
                    bits=600,
                    setting="5x5 cells, 8 bits a value",
                    numbers=Values(values={"bits_per_pixel": 0.59, "psnr": 24.5}),
                ),
                ReferenceRow(kind="jpeg", budget=640.0, bits=None, setting="cannot", remark="too large"),
            ),
            "curves": {
                "floor": (point(0.5, 22.0), point(1.0, 24.0), point(4.0, 27.0)),
                "jpeg": (point(3.0, 26.0),),
            },
            "promises": (),
            "machine": report.machine,
            "commit": None,
            "seconds": 12.0,
        }
        return Comparison.parse(fields | changes)

    return make


def row(label: str, status: Any, bits: float, values: dict[str, float], missing: dict[str, str]) -> MemberRow:
    """A member's row."""
    return MemberRow(
        label=label, preset=label, status=status, bits=bits, numbers=Values(values=values, missing=missing)
    )


def point(rate: float, psnr: float) -> Point:
    """A point of a curve."""
    return Point(bits_per_pixel=rate, psnr=psnr, setting="")
