"""diffusers' AutoencoderKL: its configuration, its tensor names, its latent convention.

A latent is normalised there as ``(z - shift_factor) * scaling_factor`` (SD3, FLUX), as ``z * scaling_factor``
(SD, SDXL), or per channel as ``(z - latents_mean) / latents_std * scaling_factor``.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tokenizer.adapters.diffusers import resnet
from tokenizer.adapters.diffusers.convention import Statistics, one_scale
from tokenizer.adapters.diffusers.keys import KeyTable
from tokenizer.bottlenecks.kl import KL
from tokenizer.config import TokenizerConfig
from tokenizer.layers.resnet import Decoder, Encoder, GroupNorm
from tokenizer.model import Autoencoder

NAME = "AutoencoderKL"

_KEYS = KeyTable(resnet.pairs())


def config_from(config: Mapping[str, Any]) -> TokenizerConfig:  # JSON of another project, read key by key
    """Our configuration for theirs.

    Raises:
        ValueError: naming the setting that our network cannot express.
    """
    backbone = {
        "kind": "kl",
        "latent_channels": config.get("latent_channels", 4),
        "quant_conv": config.get("use_quant_conv", True),
        "post_quant_conv": config.get("use_post_quant_conv", True),
        **resnet.layout_from(NAME, config),
    }
    return TokenizerConfig.parse({"backbone": backbone, "bottleneck": {"kind": "kl"}})


def tensors_from(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their state dict in our layout: q, k and v fused, linear layers as 1x1 convolutions."""
    return _KEYS.to_ours(resnet.fuse_attention(tensors))


def tensors_to(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict in their layout, the inverse of ``tensors_from``."""
    return resnet.split_attention(_KEYS.to_theirs(tensors))


def config_to(autoencoder: Autoencoder) -> dict[str, Any]:  # the arguments of their class
    """Their configuration for our network, without the latent convention.

    Raises:
        ValueError: if the class cannot express the bottleneck or the network.
    """
    encoder, decoder = autoencoder.encoder, autoencoder.decoder
    assert isinstance(encoder, Encoder)  # the caller chose this file by the encoder's class
    assert isinstance(decoder, Decoder)
    if not isinstance(autoencoder.bottleneck, KL):
        raise ValueError(
            f"{NAME} has a Gaussian posterior: only a tokenizer with bottleneck kl can be exported to it"
        )
    channels = autoencoder.spec.z.channels
    inner = (encoder.conv_out.out_channels, decoder.conv_in.in_channels)
    if inner != (2 * channels, channels) or not isinstance(decoder.norm_out, GroupNorm):
        raise ValueError(f"{NAME} cannot express a vqgan backbone: only backbone kl can be exported to it")
    return {
        **resnet.layout_to(encoder, decoder),
        "latent_channels": channels,
        "use_quant_conv": not isinstance(encoder.quant_conv, nn.Identity),
        "use_post_quant_conv": not isinstance(decoder.post_quant_conv, nn.Identity),
    }


def raw_latent(module: Any, x: Tensor) -> Tensor:  # their class is not typed
    """What their module makes of x (B, 3, H, W), comparable to our raw z."""
    z: Tensor = module.encode(x).latent_dist.mode()
    return z


def scaled(statistics: Statistics) -> dict[str, Any]:  # as above
    """The one shift and scale nearest to ``statistics``; exact where all channels agree."""
    shift = math.fsum(statistics.mean) / len(statistics.mean)
    centred = Statistics(tuple(value - shift for value in statistics.mean), statistics.std)
    return {"scaling_factor": one_scale(centred), "shift_factor": shift or None}


def fold(config: dict[str, Any], tensors: dict[str, Tensor], statistics: Statistics) -> None:  # as above
    """Change their network so that its own latents are normalised channel by channel, exactly.

    The posterior's mean and variance move in the encoder's last convolution. The decoder's first 1x1
    convolution undoes it; it is added where there is none, since a 3x3 one would pad the shifted latent with
    the wrong value.
    """
    mean, std = (
        torch.tensor(statistics.mean, dtype=torch.float64),
        torch.tensor(statistics.std, dtype=torch.float64),
    )
    last = "quant_conv" if config["use_quant_conv"] else "encoder.conv_out"
    weight, bias = tensors[f"{last}.weight"], tensors[f"{last}.bias"]
    gain = torch.cat([1 / std, torch.ones_like(std)]).view(-1, 1, 1, 1)
    tensors[f"{last}.weight"] = (weight.double() * gain).to(weight.dtype)
    moments = bias.double().chunk(2)
    tensors[f"{last}.bias"] = torch.cat([(moments[0] - mean) / std, moments[1] - 2 * std.log()]).to(
        bias.dtype
    )
    if config["use_post_quant_conv"]:
        weight, bias = tensors["post_quant_conv.weight"], tensors["post_quant_conv.bias"]
        offset = weight.double().flatten(1) @ mean
        tensors["post_quant_conv.weight"] = (weight.double() * std.view(1, -1, 1, 1)).to(weight.dtype)
        tensors["post_quant_conv.bias"] = (bias.double() + offset).to(bias.dtype)
    else:
        tensors["post_quant_conv.weight"] = torch.diag(std).view(len(std), -1, 1, 1).to(weight.dtype)
        tensors["post_quant_conv.bias"] = mean.to(bias.dtype)
        config["use_post_quant_conv"] = True
    config["scaling_factor"], config["shift_factor"] = 1.0, None
