"""diffusers' AutoencoderDC and AutoencoderKL <-> our autoencoders, weights and latent convention both ways.

Reading needs only their ``config.json`` and safetensors; diffusers itself is imported when a module of theirs
is made.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from tokenizer.adapters.diffusers import dc, kl
from tokenizer.adapters.diffusers.convention import Statistics
from tokenizer.backbones import dcae
from tokenizer.backbones import kl as kl_backbone
from tokenizer.config import TokenizerConfig
from tokenizer.core import checkpoint
from tokenizer.model import Autoencoder
from tokenizer.spec import LatentSpec

Latents = Literal["scaled", "folded"]

_WEIGHTS = "diffusion_pytorch_model.safetensors"
_FAMILIES = {dc.NAME: dc, kl.NAME: kl}


def from_diffusers(source: nn.Module | Path | str) -> Autoencoder:
    """Our autoencoder with the weights of theirs, float32, in eval mode; the source is left as it was.

    Args:
        source: an AutoencoderDC or AutoencoderKL, or a folder that ``save_pretrained`` wrote.

    Raises:
        ValueError: if it is another class, files are missing or damaged, or naming the setting that cannot
            be expressed.
    """
    if isinstance(source, nn.Module):
        tensors = {key: tensor.detach().clone() for key, tensor in source.state_dict().items()}
        return _convert(type(source).__name__, dict(getattr(source, "config", {})), tensors)
    return load_diffusers(Path(source))


def load_diffusers(folder: Path) -> Autoencoder:
    """Our autoencoder from a folder that ``save_pretrained`` wrote; its spec_id is bound to the weights file.

    Raises:
        ValueError: if it is another class, files are missing or damaged, or naming the setting that cannot
            be expressed.
    """
    config = read_diffusers_config(folder)
    weights = _weights_file(folder)
    try:
        tensors = checkpoint.load_tensors(weights)
    except SafetensorError as error:
        raise ValueError(f"{weights} is damaged: {error}") from None
    autoencoder = _convert(config["_class_name"], config, tensors)
    autoencoder.spec_id = autoencoder.spec.spec_id(checkpoint.sha256_of(weights))
    return autoencoder


def read_diffusers_config(folder: Path) -> dict[str, Any]:  # JSON of another project
    """The ``config.json`` of a folder of theirs.

    Raises:
        ValueError: if there is none, or it names no class that is known here.
    """
    config = checkpoint.read_config(folder)
    name = config.get("_class_name")
    if name not in _FAMILIES:
        raise ValueError(f"{folder}: class {name!r} is not known here, only {' and '.join(_FAMILIES)}")
    return config


def diffusers_config(
    config: Mapping[str, Any],
) -> tuple[TokenizerConfig, LatentSpec]:  # JSON of another project
    """Our configuration and spec for a configuration of theirs that has ``_class_name``."""
    family = _FAMILIES[config["_class_name"]]
    ours = family.config_from(config)
    return ours, family.spec_from(
        LatentSpec.image(ours.backbone.latent_channels, ours.backbone.spatial_factor), config
    )


def to_diffusers(autoencoder: Autoencoder, *, latents: Latents = "scaled") -> nn.Module:
    """Their module, in eval mode, with the weights of ours.

    Args:
        autoencoder: a DC-AE with bottleneck identity, or a KL autoencoder with bottleneck kl.
        latents: "scaled" keeps raw latents and weights as they are and states one scale (and, for KL, one
            shift) for all channels: equal to our normalisation where all channels agree, otherwise 1 / rms as
            DC-AE does. "folded" changes the layers next to the latent so that their latents, with scale 1,
            equal our normalised ones; AutoencoderKL always can, AutoencoderDC only where every mean is 0.

    Raises:
        ValueError: if the network, or its latents in that way, cannot be expressed, or were never measured.
    """
    import diffusers

    statistics = Statistics.of(autoencoder.spec)
    family = dc if isinstance(autoencoder.encoder, dcae.Encoder) else kl
    if not isinstance(autoencoder.encoder, dcae.Encoder | kl_backbone.Encoder):
        raise ValueError(
            f"diffusers has no class for {type(autoencoder.encoder).__module__}: "
            f"only dcae and kl backbones can be exported, to {' and '.join(_FAMILIES)}"
        )
    config = family.config_to(autoencoder)
    state = {key: tensor.detach().to("cpu", copy=True) for key, tensor in autoencoder.state_dict().items()}
    tensors = family.tensors_to(state)
    if latents == "folded":
        family.fold(config, tensors, statistics)
    else:
        config |= family.scaled(statistics)
    with torch.device("meta"):
        module: nn.Module = getattr(diffusers, family.NAME)(**config)
    module.load_state_dict({key: tensor.contiguous() for key, tensor in tensors.items()}, assign=True)
    return module.eval()


def _convert(name: str, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Autoencoder:
    if name not in _FAMILIES:
        raise ValueError(f"class {name!r} is not known here, only {' and '.join(_FAMILIES)}")
    family = _FAMILIES[name]
    ours, spec = diffusers_config({**config, "_class_name": name})
    with torch.device("meta"):
        autoencoder = ours.build()
    state = {
        key: tensor.to("cpu", torch.float32 if tensor.is_floating_point() else tensor.dtype).contiguous()
        for key, tensor in family.tensors_from(tensors).items()
    }
    try:
        autoencoder.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise ValueError(f"the weights do not fit the {name} configuration beside them: {error}") from None
    autoencoder.spec = spec
    return autoencoder.eval()


def _weights_file(folder: Path) -> Path:
    weights = folder / _WEIGHTS
    if weights.is_file():
        return weights
    found = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
    raise ValueError(
        f"{folder} has no {_WEIGHTS} (it has {found}): save it in one file with "
        "save_pretrained(folder, safe_serialization=True); pickled weights are never read"
    )
