"""Write a trained generator for use elsewhere: a diffusers folder, or a slim folder of ours without the
trainer.

``python -m diffusion.export source=FOLDER out=FOLDER [format=diffusers|tessera] [dtype=bfloat16]``
"""

import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from diffusion.convert import write_diffusers
from diffusion.model_folder import GeneratorRecord, find, read_record
from tokenizer.core import checkpoint
from tokenizer.core.config import Config, from_cli, refusals

BESIDE = "tessera.json"


class ExportConfig(Config):
    """Write a generator's averaged weights as a folder for diffusers (DiTTransformer2DModel)."""

    source: str = Field(description="model folder, run folder or bundled name")
    out: Path = Field(description="the folder to write; it must not exist")
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"


def export(config: ExportConfig) -> GeneratorRecord:
    """Write ``config.out`` whole or not at all.

    Beside the weights lies ``tessera.json``: latent space, size, class names and how it is sampled
    (feed ``timestep = 1000 t``; the output is the velocity that FlowMatchEulerDiscreteScheduler expects,
    sigma = t).

    Raises:
        ValueError: if ``out`` exists, there is no such generator, or diffusers cannot express it.
    """
    if config.out.exists():
        raise ValueError(f"{config.out} exists: remove it first or give another folder")
    folder = find(config.source)
    checkpoint.verify(folder)
    record = read_record(folder)
    state: dict[str, Tensor] = {
        name: value.to(getattr(torch, config.dtype)) if value.is_floating_point() else value
        for name, value in checkpoint.load_tensors(checkpoint.weights_path(folder)).items()
    }
    temporary = config.out.with_name(f".{config.out.name}.{os.getpid()}.tmp")
    try:
        write_diffusers(temporary, record.model, record.latent_shape, len(record.class_names), state)
        beside = record.model_dump(mode="json", exclude={"model", "preset"})
        (temporary / BESIDE).write_text(json.dumps(beside, indent=1) + "\n")
        for file in (*temporary.iterdir(), temporary):
            checkpoint.flush(file)
        temporary.rename(config.out)
        checkpoint.flush(config.out.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return record


def main(argv: Sequence[str] | None = None) -> None:
    """The command; a refusal is one line and exit status 2."""
    config = from_cli(ExportConfig, "diffusion.export", Path(__file__).parent / "configs" / "export", argv)
    with refusals("diffusion.export"):
        record = export(config)
    sys.stdout.write(
        f"{config.out}: DiTTransformer2DModel for latents {record.latent_shape} of spec {record.spec_id}\n"
    )


if __name__ == "__main__":
    main()
