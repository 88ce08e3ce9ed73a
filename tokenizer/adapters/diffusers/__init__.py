"""diffusers' autoencoders <-> ours, weights and latent convention both ways.

Each file is one of their classes: AutoencoderDC, AutoencoderKL, AutoencoderTiny, VQModel. Their video classes lie in
``video`` and go one way: they run with their own layers.

Reading needs only their ``config.json`` and safetensors; diffusers itself is imported when a module of theirs
is made.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from tokenizer.adapters.diffusers import dc, kl, tiny, vq
from tokenizer.adapters.diffusers.convention import Statistics
from tokenizer.adapters.diffusers.video import FAMILIES as VIDEO
from tokenizer.adapters.diffusers.video import build_video
from tokenizer.backbones import dcae, taesd
from tokenizer.bottlenecks.vq import VQ
from tokenizer.config import TokenizerConfig
from tokenizer.core import checkpoint
from tokenizer.diffusers_spec import NAMES, spec_of
from tokenizer.layers.resnet import Encoder as ResnetEncoder
from tokenizer.layers.sampling import SamplingDecoder
from tokenizer.model import Autoencoder
from tokenizer.spec import LatentSpec

Latents = Literal["scaled", "folded"]

_WEIGHTS = "diffusion_pytorch_model.safetensors"
_FAMILIES = {family.NAME: family for family in (dc, kl, tiny, vq)}


def from_diffusers(source: nn.Module | Path | str) -> Autoencoder:
    """Our autoencoder with the weights of theirs, float32, in eval mode; the source is left as it was.

    Args:
        source: a module of one of these classes, or a folder that ``save_pretrained`` wrote.

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
    if name not in NAMES:
        raise ValueError(f"{folder}: class {name!r} is not known here, only {', '.join(NAMES)}")
    return config


def diffusers_config(
    config: Mapping[str, Any],
) -> tuple[TokenizerConfig, LatentSpec]:  # JSON of another project
    """Our configuration and spec for a configuration of theirs that has ``_class_name``.

    Raises:
        ValueError: if it is a video class, which has no configuration of ours.
    """
    if (name := config["_class_name"]) in VIDEO:
        raise ValueError(
            f"{name} runs with diffusers' own layers: it encodes and decodes, and is not trained or changed here"
        )
    return _FAMILIES[config["_class_name"]].config_from(config), spec_of(config)


def to_diffusers(autoencoder: Autoencoder, *, latents: Latents = "scaled") -> nn.Module:
    """Their module, in eval mode, with the weights of ours.

    Args:
        autoencoder: a DC-AE or a TAESD with bottleneck identity, a KL autoencoder with bottleneck kl, or a VQGAN
            with bottleneck vq.
        latents: "scaled" keeps raw latents and weights as they are and states one scale (and, where the class
            has one, one shift) for all channels: equal to our normalisation where all channels agree, otherwise
            1 / rms as DC-AE does. "folded" changes the layers next to the latent so that their latents, with
            scale 1, equal our normalised ones; AutoencoderKL always can, AutoencoderDC only where every mean is
            0, the others never.

    Raises:
        ValueError: if the network, or its latents in that way, cannot be expressed, or were never measured.
    """
    import diffusers

    statistics = Statistics.of(autoencoder.spec)
    family = _family_of(autoencoder)
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


def raw_latent(module: nn.Module, x: Tensor) -> Tensor:
    """What a module of theirs makes of x (B, 3, H, W): its mode, comparable to our z before it is normalised."""
    z: Tensor = _FAMILIES[type(module).__name__].raw_latent(module, x)
    return z


def _family_of(autoencoder: Autoencoder) -> Any:  # one of the modules above
    """The file for an autoencoder of ours.

    Raises:
        ValueError: if diffusers has no class for its network.
    """
    if isinstance(autoencoder.decoder, SamplingDecoder):
        raise ValueError(
            "diffusers has no class for an autoencoder whose decoder draws the pixels: it stays a folder of ours, "
            "which tokenizer.load and the service take"
        )
    if isinstance(autoencoder.encoder, ResnetEncoder) and isinstance(autoencoder.bottleneck, VQ):
        return vq
    for kind, family in ((dcae.Encoder, dc), (ResnetEncoder, kl), (taesd.Encoder, tiny)):
        if isinstance(autoencoder.encoder, kind):
            return family
    raise ValueError(
        f"diffusers has no class for {type(autoencoder.encoder).__module__}: "
        f"only dcae, kl, taesd and vqgan backbones can be exported, to {', '.join(_FAMILIES)}"
    )


def _convert(name: str, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Autoencoder:
    if name not in NAMES:
        raise ValueError(f"class {name!r} is not known here, only {', '.join(NAMES)}")
    if name in VIDEO:
        return build_video(name, config, tensors)
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
