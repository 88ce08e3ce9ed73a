"""A folder as a model: ours, a diffusers autoencoder or a diffusers pipeline, told apart by its JSON, without torch.

The folder of a run is resolved to its latest checkpoint here, so that the HTTP process and the worker mean the
same weights. Every refusal is a ValueError that names the model, the folder and what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.registry import pipelines
from service.registry.identity import sha256_of
from service.registry.served import Served, ServedGenerator, ServedTokenizer
from tokenizer.core import checkpoint
from tokenizer.diffusers_spec import NAMES, spec_of
from tokenizer.spec import LatentSpec

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from service.engine.messages import Kind

# Where the generator's folder does not say how its training showed samples.
DEFAULT_NUM_STEPS = 50
DEFAULT_GUIDANCE = 2.0
DIFFUSERS_WEIGHTS = "diffusion_pytorch_model.safetensors"


def resolve(path: Path) -> Path:
    """The folder that holds the model: ``path`` itself, or the latest checkpoint of the run in it.

    Raises:
        ValueError: if it holds none.
    """
    return path if pipelines.is_pipeline(path) else checkpoint.resolve(path)


def kind_of(folder: Path) -> Kind:
    """What a resolved folder holds.

    Raises:
        ValueError: if that is nothing that can be served.
    """
    if pipelines.is_pipeline(folder):
        return "generator"
    config = checkpoint.read_config(folder)
    if config.get("_class_name") in NAMES:
        return "tokenizer"
    kind = config.get("kind")
    if kind == "tokenizer" or kind == "generator":
        return "tokenizer" if kind == "tokenizer" else "generator"
    raise ValueError(
        f"{folder} is no folder of ours (its config.json has no kind), no pipeline of diffusers and none of its "
        f"autoencoders {', '.join(NAMES)}"
    )


def read_model(name: str, folder: Path, tokenizers: Iterable[ServedTokenizer]) -> Served:
    """The model in a resolved folder; a generator of ours needs its tokenizer among ``tokenizers``.

    Raises:
        ValueError: naming what is wrong, and what to do.
    """
    try:
        if pipelines.is_pipeline(folder):
            return pipelines.read_pipeline(name, folder)
        config = checkpoint.read_config(folder)
        if "_class_name" in config:
            return _autoencoder(name, folder, config)
        if kind_of(folder) == "tokenizer":
            return _tokenizer(name, folder, config)
        return _generator(name, folder, config, tokenizers)
    except OSError as error:
        raise ValueError(f"{folder}: {error}") from None


def _tokenizer(name: str, folder: Path, config: dict[str, Any]) -> ServedTokenizer:  # config.json
    try:
        spec = LatentSpec.parse(config["spec"])
        spec_id = spec.spec_id(checkpoint.weights_sha256(folder))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder}: {error}") from None
    if not spec.has_statistics:
        raise ValueError(
            f"{name!r} has no latent statistics yet: measure them with "
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


def _autoencoder(
    name: str, folder: Path, config: dict[str, Any]
) -> ServedTokenizer:  # config.json of diffusers
    weights = folder / DIFFUSERS_WEIGHTS
    if not weights.is_file():
        raise ValueError(
            f"{folder} has no {DIFFUSERS_WEIGHTS}: save it in one file with "
            "save_pretrained(folder, safe_serialization=True); pickled weights are never read"
        )
    try:
        spec = spec_of(config, weights)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{folder / checkpoint.CONFIG}: {error}") from None
    return ServedTokenizer(
        name=name,
        path=folder,
        spec=spec,
        spec_id=spec.spec_id(sha256_of(weights)),
        licence=pipelines.licence_of(folder),
        figures=None,
        weights_bytes=weights.stat().st_size,
        family=str(config["_class_name"]),
    )


def _generator(
    name: str, folder: Path, config: dict[str, Any], tokenizers: Iterable[ServedTokenizer]
) -> ServedGenerator:  # config.json
    known = list(tokenizers)
    owners = [model.name for model in known if model.spec_id == config.get("spec_id")]
    if not owners:
        served = ", ".join(f"{model.name} ({model.spec_id})" for model in known) or "none"
        raise ValueError(
            f"generator {name!r} belongs to spec {config.get('spec_id')}, served are {served}: add the tokenizer that "
            "its latents were made with"
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
        raise ValueError(f"{folder}/config.json: {error}") from None
