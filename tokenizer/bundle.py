"""Turn a training run into a small model folder to ship: averaged weights in one dtype, licence, figures.

``python -m tokenizer.bundle source=RUN out=FOLDER dtype=bfloat16 licence=CC0-1.0 figures=report.json``; takes
tokenizers and generators alike. A bundle's weights differ from the run's by their rounding, so its spec_id does
too: make latents and figures from the bundle, not from the run.
"""

import json
import sys
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from tokenizer.core import checkpoint
from tokenizer.core.config import Config, from_cli, refusals

# Settings that name places on the machine that trained.
_PLACES = ("out", "init", "tokenizer", "latents")


class BundleConfig(Config):
    """Make a model folder to ship from a run."""

    source: Path = Field(description="a run folder or model folder of ours")
    out: Path = Field(description="the new folder; an existing one is replaced")
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    licence: str | None = Field(default=None, description="SPDX name; none: as in the source")
    figures: Path | None = Field(
        default=None, description="report.json of an evaluation, to keep a digest of"
    )
    trained: str | None = Field(
        default=None, description="how long it was trained, on what machine, at what commit"
    )


def bundle(config: BundleConfig) -> Path:
    """Write the folder; returns it.

    Raises:
        ValueError: if the source is damaged, or a tokenizer without latent statistics.
    """
    folder = checkpoint.resolve(config.source)
    checkpoint.verify(folder)
    settings = checkpoint.read_config(folder)
    if settings.get("kind") == "tokenizer" and any(
        part["mean"] is None for part in settings["spec"]["parts"]
    ):
        raise ValueError(
            f"{folder} has no latent statistics yet: run python -m tokenizer.stats source={folder} first"
        )
    dtype = getattr(torch, config.dtype)
    tensors = {
        name: value.to(dtype) if value.is_floating_point() else value
        for name, value in checkpoint.load_tensors(checkpoint.weights_path(folder)).items()
    }
    settings["preset"] = _without_places(settings.get("preset"))
    if config.licence is not None:
        settings["licence"] = config.licence
    figures = dict(settings.get("figures") or {})
    if config.trained is not None:
        figures["trained"] = config.trained
    if config.figures is not None:
        figures |= digest(json.loads(config.figures.read_text()))
    settings["figures"] = figures or None
    checkpoint.save_folder(config.out, settings, {"model": tensors})
    return config.out


def digest(report: dict[str, Any]) -> dict[str, Any]:  # JSON
    """Of a ``report.json``: the protocol by name and hash, the number of pictures, the metrics that have a value."""
    metrics = {
        name: {"value": entry["value"], "ci95": entry["ci95"]}
        for name, entry in report["metrics"].items()
        if "value" in entry
    }
    protocol = f"{report['protocol']['name']} {report['protocol']['hash']}"
    return {"protocol": protocol, "num_images": report["num_images"], "metrics": metrics}


def _without_places(preset: Any) -> Any:  # plain data
    if not isinstance(preset, dict):
        return preset
    kept = {key: value for key, value in preset.items() if key not in _PLACES}
    if isinstance(kept.get("data"), dict):
        kept["data"] = {
            key: value for key, value in kept["data"].items() if key not in ("path", "validation")
        }
    return kept


def main() -> None:
    """The command line."""
    config = from_cli(BundleConfig, "tokenizer.bundle")
    with refusals("tokenizer.bundle"):
        folder = bundle(config)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    sys.stdout.write(f"{folder}: {size / 1e6:.1f} MB\n")


if __name__ == "__main__":
    main()
