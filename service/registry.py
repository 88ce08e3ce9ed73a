"""Which models are served: read from their folders' JSON, without torch.

The folder of a run is resolved to its latest checkpoint once, here, so that the HTTP process and the worker
mean the same weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import diffusion
import tokenizer
from service.engine.messages import Kind, ModelSource
from service.errors import TooManyPixels, UnknownLabel, UnknownModel, WrongSize
from service.settings import parse_models
from tokenizer.core import checkpoint
from tokenizer.spec import LatentSpec

if TYPE_CHECKING:
    from types import ModuleType

BUNDLED_NAME = "demo"
# Where the generator's folder does not say how its training showed samples.
DEFAULT_NUM_STEPS = 50
DEFAULT_GUIDANCE = 2.0


@dataclass(frozen=True, slots=True)
class ServedTokenizer:
    """A tokenizer as its folder describes it."""

    name: str
    path: Path
    spec: LatentSpec
    spec_id: str
    licence: str | None
    figures: dict[str, Any] | None  # JSON that is only passed on
    weights_bytes: int


@dataclass(frozen=True, slots=True)
class ServedGenerator:
    """A generator as its folder describes it.

    Attributes:
        tokenizer: name of the served tokenizer of the same latent space.
        sizes: (H, W) in pixels that it can make, its own first.
        num_steps, guidance: what a request gets that does not say.
    """

    name: str
    path: Path
    spec_id: str
    tokenizer: str
    class_names: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    num_steps: int
    guidance: float
    licence: str | None
    figures: dict[str, Any] | None  # JSON that is only passed on
    weights_bytes: int

    def label(self, label: int | str) -> int:
        """Index of a class given by index or name.

        Raises:
            UnknownLabel: listing classes.
        """
        if isinstance(label, str) and label in self.class_names:
            return self.class_names.index(label)
        if isinstance(label, int) and 0 <= label < len(self.class_names):
            return label
        shown = ", ".join(self.class_names[:20]) + (", ..." if len(self.class_names) > 20 else "")
        raise UnknownLabel(
            f"no class {str(label)[:64]!r}: give an index from 0 to {len(self.class_names) - 1} or one of "
            f"{shown}",
            param="label",
        )

    def size(self, size: tuple[int, int] | None) -> tuple[int, int]:
        """``size`` if it can be made; its own for None.

        Raises:
            WrongSize: listing those that it can make.
        """
        if size is None:
            return self.sizes[0]
        if size in self.sizes:
            return size
        known = " or ".join(f"[{height}, {width}]" for height, width in self.sizes)
        raise WrongSize(
            f"generator {self.name!r} cannot make [{size[0]}, {size[1]}]: ask for {known}",
            param="size",
            details={"sizes": [list(known) for known in self.sizes]},
        )


class Registry:
    """The served models by name; the first of a kind is the default. The two kinds may share a name."""

    def __init__(
        self, tokenizers: dict[str, ServedTokenizer], generators: dict[str, ServedGenerator]
    ) -> None:
        self.tokenizers = tokenizers
        self.generators = generators

    @classmethod
    def read(cls, models: str) -> Registry:
        """Read ``name=folder,...``, or the bundled demo if there is none.

        Raises:
            ValueError: naming the entry that cannot be served, and what to do.
        """
        entries = [(name, Path(path)) for name, path in parse_models(models)] or _bundled()
        tokenizers: dict[str, ServedTokenizer] = {}
        found: dict[str, tuple[Path, dict[str, Any]]] = {}  # config.json, read field by field below
        for name, path in entries:
            folder, config = _open(name, path)
            if name in (tokenizers if config["kind"] == "tokenizer" else found):
                raise ValueError(
                    f"TESSERA_MODELS names the {config['kind']} {name!r} twice: give each its own name"
                )
            if config["kind"] == "tokenizer":
                tokenizers[name] = _tokenizer(name, folder, config)
            else:
                found[name] = (folder, config)
        if not tokenizers:
            raise ValueError("TESSERA_MODELS names no tokenizer: add the one that the generator belongs to")
        generators = {name: _generator(name, *entry, tokenizers) for name, entry in found.items()}
        return cls(tokenizers, generators)

    def sources(self) -> tuple[ModelSource, ...]:
        """What the worker loads."""
        kinds: tuple[tuple[Kind, dict[str, Any]], ...] = (  # both kinds have name and path
            ("tokenizer", self.tokenizers),
            ("generator", self.generators),
        )
        return tuple(
            ModelSource(kind, model.name, str(model.path))
            for kind, models in kinds
            for model in models.values()
        )

    def tokenizer(self, name: str | None) -> ServedTokenizer:
        """By name; the default for None.

        Raises:
            UnknownModel: listing those there are.
        """
        if name is None:
            return next(iter(self.tokenizers.values()))
        if name not in self.tokenizers:
            raise UnknownModel(
                f"no tokenizer {name[:64]!r}: use one of {', '.join(self.tokenizers)}", param="model"
            )
        return self.tokenizers[name]

    def generator(self, name: str | None) -> ServedGenerator:
        """By name; the default for None.

        Raises:
            UnknownModel: listing those there are.
        """
        if not self.generators:
            raise UnknownModel(
                "this server has no generator: start it with "
                "TESSERA_MODELS=name=tokenizer_folder,name=generator_folder",
                param="model",
            )
        if name is None:
            return next(iter(self.generators.values()))
        if name not in self.generators:
            raise UnknownModel(
                f"no generator {name[:64]!r}: use one of {', '.join(self.generators)}", param="model"
            )
        return self.generators[name]

    def to_json(self) -> list[dict[str, Any]]:  # JSON
        """Every model as GET /v1/models shows it; no path of this machine is told."""
        tokenizers = [
            {
                "name": model.name,
                "kind": "tokenizer",
                "default": model is self.tokenizer(None),
                "spec_id": model.spec_id,
                "spec": model.spec.model_dump(mode="json"),
                "codes": codes_of(model.spec),
                "licence": model.licence,
                "figures": model.figures,
                "weights_bytes": model.weights_bytes,
            }
            for model in self.tokenizers.values()
        ]
        generators = [
            {
                "name": model.name,
                "kind": "generator",
                "default": model is self.generator(None),
                "spec_id": model.spec_id,
                "tokenizer": model.tokenizer,
                "class_names": list(model.class_names),
                "sizes": [list(size) for size in model.sizes],
                "num_steps": model.num_steps,
                "guidance": model.guidance,
                "licence": model.licence,
                "figures": model.figures,
                "weights_bytes": model.weights_bytes,
            }
            for model in self.generators.values()
        ]
        return [*tokenizers, *generators]


def codes_of(spec: LatentSpec) -> dict[str, Any] | None:  # JSON
    """What the indices of a latent are; None where it is continuous or of several parts."""
    part = spec.parts[0]
    if len(spec.parts) != 1 or part.codebook_size is None:
        return None
    return {
        "codebook_size": part.codebook_size,
        "num_codebooks": part.num_codebooks,
        "scales": None if part.scales is None else list(part.scales),
        "index_dtype": part.index_dtype,
        "bits_per_index": math.log2(part.codebook_size),
    }


def check_padded(spec: LatentSpec, size: tuple[int, int], max_pixels: int) -> int:
    """Pixels of ``size`` after padding, the cost of a picture.

    Raises:
        TooManyPixels: more than ``max_pixels``; a long, thin picture may grow much by padding.
    """
    pixels = math.prod(spec.padded(size))
    if pixels > max_pixels:
        raise TooManyPixels(
            f"a picture of {size[1]}x{size[0]} is {pixels} pixels after padding and this server takes up to "
            f"{max_pixels}: send a smaller one",
            details={"max_pixels": max_pixels},
        )
    return pixels


def _bundled() -> list[tuple[str, Path]]:
    folders = [_home(package) / "bundled" / BUNDLED_NAME for package in (tokenizer, diffusion)]
    there = [(BUNDLED_NAME, folder) for folder in folders if (folder / checkpoint.CONFIG).is_file()]
    if not there:
        raise ValueError(
            "this checkout has no bundled demo model: make one with `make train-demo`, or name models with "
            "TESSERA_MODELS=name=folder"
        )
    return there


def _home(package: ModuleType) -> Path:
    assert package.__file__ is not None  # both are ordinary packages
    return Path(package.__file__).parent


def _open(name: str, path: Path) -> tuple[Path, dict[str, Any]]:  # config.json
    try:
        folder = checkpoint.resolve(path)
        config = checkpoint.read_config(folder)
    except checkpoint.CheckpointError as error:
        raise ValueError(f"TESSERA_MODELS: {name!r}: {error}") from None
    if config.get("kind") not in ("tokenizer", "generator"):
        raise ValueError(
            f"TESSERA_MODELS: {name!r}: {folder} is no folder of ours (its config.json has no kind): load it "
            "with "
            "tokenizer.load and save it as one"
        )
    return folder, config


def _tokenizer(name: str, folder: Path, config: dict[str, Any]) -> ServedTokenizer:
    try:
        spec = LatentSpec.parse(config["spec"])
        spec_id = spec.spec_id(checkpoint.weights_sha256(folder))
    except (KeyError, ValueError) as error:
        raise ValueError(f"TESSERA_MODELS: {name!r}: {folder}: {error}") from None
    if not spec.has_statistics:
        raise ValueError(
            f"TESSERA_MODELS: {name!r} has no latent statistics yet: measure them with "
            f"`python -m tokenizer.stats source={folder} data.path=PICTURES`"
        )
    return ServedTokenizer(
        name=name,
        path=folder,
        spec=spec,
        spec_id=spec_id,
        licence=config.get("licence"),
        figures=config.get("figures"),
        weights_bytes=checkpoint.weights_path(folder).stat().st_size,
    )


def _generator(
    name: str, folder: Path, config: dict[str, Any], tokenizers: dict[str, ServedTokenizer]
) -> ServedGenerator:
    owners = [model.name for model in tokenizers.values() if model.spec_id == config["spec_id"]]
    if not owners:
        served = ", ".join(f"{model.name} ({model.spec_id})" for model in tokenizers.values())
        raise ValueError(
            f"TESSERA_MODELS: generator {name!r} belongs to spec {config['spec_id']}, served are {served}: "
            "add the "
            "tokenizer that its latents were made with"
        )
    shown = (config.get("preset") or {}).get("show") or {}
    try:
        height, width = config["size"]
        return ServedGenerator(
            name=name,
            path=folder,
            spec_id=config["spec_id"],
            tokenizer=owners[0],
            class_names=tuple(config["class_names"]),
            sizes=((int(height), int(width)),),
            num_steps=int(shown.get("num_steps", DEFAULT_NUM_STEPS)),
            guidance=float(shown.get("guidance", DEFAULT_GUIDANCE)),
            licence=config.get("licence"),
            figures=config.get("figures"),
            weights_bytes=checkpoint.weights_path(folder).stat().st_size,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"TESSERA_MODELS: {name!r}: {folder}/config.json: {error}") from None
