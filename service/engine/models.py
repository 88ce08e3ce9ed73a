"""The models of the worker process: loaded, placed, warmed up."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

import tokenizer
from diffusion.pipeline import Pipeline
from service.engine.operations.base import to_pixels
from tokenizer.tiling import TilePlan

if TYPE_CHECKING:
    from service.engine.messages import WorkerSettings
    from tokenizer.model import Tokenizer

logger = logging.getLogger(__name__)

WARM_SIDE = 64
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class Models:
    """What the operations work with.

    Attributes:
        settings: limits.
        device: where the networks are.
        dtype: of their weights and arithmetic.
        tokenizers: by name.
        pipelines: by name of the generator.
        tokenizer_of: name of a generator -> name of the tokenizer that decodes for it.
    """

    settings: WorkerSettings
    device: torch.device
    dtype: torch.dtype
    tokenizers: dict[str, Tokenizer] = field(default_factory=dict)
    pipelines: dict[str, Pipeline] = field(default_factory=dict)
    tokenizer_of: dict[str, str] = field(default_factory=dict)

    def tiles(self, size: tuple[int, ...], *, tiled: bool = False) -> TilePlan | None:
        """The tile plan of a padded size: a function of the size alone, so encode and decode agree.

        ``tiled`` asks for tiles whatever the size, of half the side that they would have: what is left to try
        when memory is short.
        """
        side = self.settings.tile_side
        if tiled:
            side = min(side, *size[-2:]) // 2
        elif math.prod(size) <= self.settings.tile_above_pixels:
            return None
        return TilePlan(tile=max(1, side), overlap=side // 6)


def load(settings: WorkerSettings) -> Models:
    """Load every model of the registry, tokenizers first.

    Raises:
        ValueError: naming the model that cannot be loaded, or the device that is not there.
    """
    device = find_device(settings.device)
    dtype = find_dtype(settings.dtype, device)
    models = Models(settings, device, dtype)
    for source in sorted(settings.models, key=lambda source: source.kind != "tokenizer"):
        started = time.monotonic()
        try:
            if source.kind == "tokenizer":
                models.tokenizers[source.name] = tokenizer.load(source.path, device=str(device), dtype=dtype)
            else:
                _load_generator(models, source.name, source.path)
        except (ValueError, OSError) as error:
            raise ValueError(
                f"{source.kind} {source.name!r} in {source.path} cannot be loaded: {error}"
            ) from error
        logger.info("%s %s loaded in %.1f s", source.kind, source.name, time.monotonic() - started)
    return models


def _load_generator(models: Models, name: str, path: str) -> None:
    pipeline = Pipeline.load(path, device=str(models.device), dtype=models.dtype)
    owners = [key for key, value in models.tokenizers.items() if value.spec_id == pipeline.spec_id]
    if not owners:
        raise ValueError(f"no tokenizer of spec {pipeline.spec_id} is served beside it")
    models.pipelines[name] = pipeline
    models.tokenizer_of[name] = owners[0]


@torch.inference_mode()
def warm_up(models: Models) -> None:
    """Run every network once, so that the first request finds kernels chosen and memory reserved."""
    for name, model in models.tokenizers.items():
        started = time.monotonic()
        size = model.spec.padded((WARM_SIDE, WARM_SIDE))
        x = torch.zeros(1, 3, *size, device=models.device, dtype=models.dtype)
        to_pixels(model.decode(model.encode(x))).cpu()
        logger.info("tokenizer %s warm in %.1f s", name, time.monotonic() - started)
    for name, pipeline in models.pipelines.items():
        started = time.monotonic()
        pipeline.generate([0], num_steps=1, guidance=2.0, output="latent").z.cpu()
        logger.info("generator %s warm in %.1f s", name, time.monotonic() - started)


def find_device(text: str) -> torch.device:
    """``auto`` is CUDA where there is one.

    Raises:
        ValueError: the device is not there.
    """
    if text == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(text)
    there = {
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(device.type, True):
        raise ValueError(f"TESSERA_DEVICE={text}: this machine has no such device; use auto or cpu")
    return device


def find_dtype(text: str, device: torch.device) -> torch.dtype:
    """``auto`` is bfloat16 on CUDA and float32 elsewhere."""
    if text == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return DTYPES[text]
