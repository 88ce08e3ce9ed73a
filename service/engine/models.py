"""The models of the worker process: loaded, placed, added and removed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

import tokenizer
from diffusion.pipeline import Pipeline
from service.engine.failures import free_memory
from service.engine.foreign_pipeline import ForeignPipeline
from service.errors import NotReady
from tokenizer.tiling import TilePlan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.engine.messages import Kind, ModelSource, WorkerSettings
    from tokenizer.model import Tokenizer

    Model = Tokenizer | Pipeline | ForeignPipeline

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Loaded(dict[str, Any]):  # Tokenizer or Pipeline; the fields below say which
    """Models by name; one that is not there is an answer, not a defect: it was unloaded meanwhile."""

    def __missing__(self, name: str) -> Any:
        raise NotReady(
            f"the model {name!r} is being loaded or unloaded: ask again, GET /v1/models tells what is served",
            details={"retry_after_s": 5},
        )


@dataclass(frozen=True, slots=True)
class Models:
    """What the operations work with.

    Attributes:
        settings: limits.
        device: where the networks are.
        dtype: of their weights and arithmetic.
        tokenizers: by name.
        pipelines: by name of the generator.
        foreign: pipelines of diffusers by name.
        tokenizer_of: name of a generator -> name of the tokenizer that decodes for it.
    """

    settings: WorkerSettings
    device: torch.device
    dtype: torch.dtype
    tokenizers: dict[str, Tokenizer] = field(default_factory=Loaded)
    pipelines: dict[str, Pipeline] = field(default_factory=Loaded)
    foreign: dict[str, ForeignPipeline] = field(default_factory=Loaded)
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

    def owner(self, source: ModelSource, pipeline: Pipeline) -> str:
        """Name of the tokenizer that decodes for a generator: the one that its source names, if it does.

        Raises:
            ValueError: none of its latent space is served.
        """
        for name, model in self.tokenizers.items():
            if model.spec_id == pipeline.spec_id and source.tokenizer in (None, name):
                return name
        raise ValueError(f"no tokenizer of spec {pipeline.spec_id} is served beside it")

    def add(self, source: ModelSource, model: Model) -> None:
        """Serve a loaded model from now on."""
        if isinstance(model, ForeignPipeline):
            self.foreign[source.name] = model
        elif isinstance(model, Pipeline):
            self.pipelines[source.name] = model
            self.tokenizer_of[source.name] = self.owner(source, model)
        else:
            self.tokenizers[source.name] = model

    def remove(self, kind: Kind, name: str) -> None:
        """Forget a model and give its memory back.

        Raises:
            ValueError: there is no such model, or a generator that is served needs it.
        """
        users = [user for user, owner in self.tokenizer_of.items() if owner == name]
        if kind == "tokenizer" and users:
            raise ValueError(f"tokenizer {name!r} decodes for {', '.join(users)}: unload those first")
        homes = (self.tokenizers,) if kind == "tokenizer" else (self.pipelines, self.foreign)
        if all(home.pop(name, None) is None for home in homes):
            raise ValueError(f"no {kind} {name!r} is loaded")
        if kind == "generator":
            self.tokenizer_of.pop(name, None)
        free_memory()


def place(settings: WorkerSettings) -> Models:
    """Device and type, and no model yet.

    Raises:
        ValueError: the device is not there.
    """
    device = find_device(settings.device)
    if device.type == "cuda":  # streams and pinned memory are made without naming a device
        torch.cuda.set_device(device)
    return Models(settings, device, find_dtype(settings.dtype, device))


def load(settings: WorkerSettings) -> Models:
    """Load every model of the registry.

    Raises:
        ValueError: naming the model that cannot be loaded, or the device that is not there.
    """
    models = place(settings)
    for source in in_order(settings.models):
        models.add(source, load_one(models, source))
    return models


def in_order(sources: Sequence[ModelSource]) -> list[ModelSource]:
    """Tokenizers before the generators that need them."""
    return sorted(sources, key=lambda source: source.kind != "tokenizer")


def load_one(models: Models, source: ModelSource) -> Model:
    """A model in memory, on the device, not served yet.

    Raises:
        ValueError: naming the model that cannot be loaded.
    """
    try:
        if source.kind == "tokenizer":
            model = tokenizer.load(source.path, device=str(models.device), dtype=models.dtype)
            if models.device.type == "cuda" and isinstance(model, nn.Module):
                _lay_out(model)
            return model
        if source.pipeline is not None:
            return ForeignPipeline.load(source, device=models.device, dtype=models.dtype)
        pipeline = Pipeline.load(source.path, device=str(models.device), dtype=models.dtype)
        pipeline.tokenizer = models.tokenizers[models.owner(source, pipeline)]
        return pipeline
    except (ValueError, OSError) as error:
        raise ValueError(
            f"{source.kind} {source.name!r} in {source.path} cannot be loaded: {error}"
        ) from error


def _lay_out(model: nn.Module) -> None:
    """Weights as convolutions of CUDA are fastest with; those of video have five axes, for which it is not."""
    if all(weight.ndim != 5 for weight in model.parameters()):
        model.to(memory_format=torch.channels_last)


def weights_bytes(model: object) -> int:
    """Bytes that the weights of a model take, those of the tokenizer not counted for a generator."""
    if isinstance(model, ForeignPipeline):
        return model.memory_bytes
    network = model.denoiser if isinstance(model, Pipeline) else model
    modules = [network] if isinstance(network, nn.Module) else vars(network).values()
    return sum(
        tensor.nbytes
        for module in modules
        if isinstance(module, nn.Module)
        for tensor in (*module.parameters(), *module.buffers())
    )


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
