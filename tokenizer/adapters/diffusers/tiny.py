"""diffusers' AutoencoderTiny (TAESD): its configuration, its tensor names, its latent convention.

A latent is normalised there as ``(z - shift_factor) * scaling_factor``; published ones imitate latents that are
normalised already and state 1 and 0. ``latent_magnitude`` and ``latent_shift`` are about storing latents in bytes
only, and are not carried over.
"""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from tokenizer.adapters.diffusers.convention import Statistics, one_scale, refuse
from tokenizer.adapters.diffusers.keys import KeyTable, Pair
from tokenizer.backbones.taesd import Decoder, Encoder
from tokenizer.bottlenecks.identity import Identity
from tokenizer.config import TokenizerConfig
from tokenizer.model import Autoencoder

NAME = "AutoencoderTiny"

_KEYS = KeyTable([Pair("encoder.layers.", "encoder.layers."), Pair("decoder.layers.", "decoder.layers.")])


def config_from(config: Mapping[str, Any]) -> TokenizerConfig:  # JSON of another project, read key by key
    """Our configuration for theirs.

    Raises:
        ValueError: naming the setting that our network cannot express.
    """
    for key, wanted in (
        ("in_channels", 3),
        ("out_channels", 3),
        ("act_fn", "relu"),
        ("upsample_fn", "nearest"),
        ("upsampling_scaling_factor", 2),
    ):
        if config.get(key, wanted) != wanted:
            refuse(NAME, key, config[key], wanted)
    backbone: dict[str, Any] = {"kind": "taesd", "latent_channels": config.get("latent_channels", 4)}
    for side, blocks in (("encoder", (1, 3, 3, 3)), ("decoder", (3, 3, 3, 1))):
        widths = tuple(config.get(f"{side}_block_out_channels", (64, 64, 64, 64)))
        if len(set(widths)) != 1:
            refuse(NAME, f"{side}_block_out_channels", widths, "one width at all resolutions")
        backbone[f"{side}_width"] = widths[0]
        backbone[f"{side}_blocks"] = tuple(config.get(f"num_{side}_blocks", blocks))
    return TokenizerConfig.parse({"backbone": backbone, "bottleneck": {"kind": "identity"}})


def tensors_from(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their state dict in our layout."""
    return _KEYS.to_ours(tensors)


def tensors_to(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict in their layout, the inverse of ``tensors_from``."""
    return _KEYS.to_theirs(tensors)


def config_to(autoencoder: Autoencoder) -> dict[str, Any]:  # the arguments of their class
    """Their configuration for our network, without the latent convention.

    Raises:
        ValueError: if the class cannot express the bottleneck.
    """
    encoder, decoder = autoencoder.encoder, autoencoder.decoder
    assert isinstance(encoder, Encoder)  # the caller chose this file by the encoder's class
    assert isinstance(decoder, Decoder)
    if not isinstance(autoencoder.bottleneck, Identity):
        raise ValueError(
            f"{NAME} is deterministic: only a tokenizer with bottleneck identity can be exported to it"
        )
    config: dict[str, Any] = {"latent_channels": autoencoder.spec.z.channels}
    for side, part in (("encoder", encoder), ("decoder", decoder)):
        config[f"num_{side}_blocks"] = part.counts
        config[f"{side}_block_out_channels"] = (part.width,) * len(part.counts)
    return config


def raw_latent(module: Any, x: Tensor) -> Tensor:  # their class is not typed
    """What their module makes of x (B, 3, H, W), comparable to our raw z."""
    z: Tensor = module.encode(x).latents
    return z


def scaled(statistics: Statistics) -> dict[str, Any]:  # as above
    """The one shift and scale nearest to ``statistics``; exact where all channels agree."""
    shift = math.fsum(statistics.mean) / len(statistics.mean)
    centred = Statistics(tuple(value - shift for value in statistics.mean), statistics.std)
    return {"scaling_factor": one_scale(centred), "shift_factor": shift}


def fold(config: dict[str, Any], tensors: dict[str, Tensor], statistics: Statistics) -> None:  # as above
    """Always an error: the decoder squeezes raw latents before its first layer, which no weight can undo."""
    raise ValueError(
        f"{NAME} squeezes raw latents with tanh, so a mean and std per channel cannot be folded into it: "
        "export with latents=scaled, which keeps the raw latents and states one scale for all channels"
    )
