"""diffusers' AutoencoderKL: its configuration, its tensor names, its latent convention.

A latent is normalised there as ``(z - shift_factor) * scaling_factor`` (SD3, FLUX), as ``z * scaling_factor``
(SD, SDXL), or per channel as ``(z - latents_mean) / latents_std * scaling_factor``.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tokenizer.adapters.diffusers.convention import Statistics, one_scale, refuse
from tokenizer.adapters.diffusers.keys import KeyTable, Pair
from tokenizer.backbones.kl import Decoder, Encoder, Level, ResBlock
from tokenizer.config import TokenizerConfig
from tokenizer.model import Autoencoder
from tokenizer.spec import LatentSpec

NAME = "AutoencoderKL"

_KEYS = KeyTable(
    [
        Pair("quant_conv.", "encoder.quant_conv."),
        Pair("post_quant_conv.", "decoder.post_quant_conv."),
        *(
            Pair(f"{side}.{theirs}", f"{side}.{ours}")
            for side, blocks, sampler in (
                ("encoder", "down_blocks", "downsamplers"),
                ("decoder", "up_blocks", "upsamplers"),
            )
            for theirs, ours in (
                (f"{blocks}.#.resnets.#.conv_shortcut.", "levels.#.#.shortcut."),
                (f"{blocks}.#.resnets.#.", "levels.#.#."),
                (f"{blocks}.#.{sampler}.0.", "levels.#.resample."),
                ("mid_block.resnets.0.", "mid.block1."),
                ("mid_block.attentions.0.group_norm.", "mid.attention.norm."),
                ("mid_block.attentions.0.to_out.0.", "mid.attention.proj."),
                ("mid_block.attentions.0.", "mid.attention."),
                ("mid_block.resnets.1.", "mid.block2."),
                ("conv_norm_out.", "norm_out."),
                ("conv_in.", "conv_in."),
                ("conv_out.", "conv_out."),
            )
        ),
    ]
)

# Attention names of folders saved before diffusers 0.15 (sd-vae-ft-mse is one).
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_ATTENTIONS = ("encoder.mid_block.attentions.0", "decoder.mid_block.attentions.0")


def config_from(config: Mapping[str, Any]) -> TokenizerConfig:  # JSON of another project, read key by key
    """Our configuration for theirs.

    Raises:
        ValueError: naming the setting that our network cannot express.
    """
    levels = len(config.get("block_out_channels", (64,)))
    for key, default, wanted in (
        ("in_channels", 3, 3),
        ("out_channels", 3, 3),
        ("act_fn", "silu", "silu"),
        ("down_block_types", ["DownEncoderBlock2D"], ["DownEncoderBlock2D"] * levels),
        ("up_block_types", ["UpDecoderBlock2D"], ["UpDecoderBlock2D"] * levels),
    ):
        value = config.get(key, default)
        if (list(value) if isinstance(value, list | tuple) else value) != wanted:
            refuse(NAME, key, value, wanted)
    backbone = {
        "kind": "kl",
        "latent_channels": config.get("latent_channels", 4),
        "widths": tuple(config.get("block_out_channels", (64,))),
        "blocks_per_level": config.get("layers_per_block", 1),
        "norm_groups": config.get("norm_num_groups", 32),
        "mid_attention": config.get("mid_block_add_attention", True),
        "quant_conv": config.get("use_quant_conv", True),
        "post_quant_conv": config.get("use_post_quant_conv", True),
    }
    return TokenizerConfig.parse({"backbone": backbone, "bottleneck": {"kind": "kl"}})


def spec_from(spec: LatentSpec, config: Mapping[str, Any]) -> LatentSpec:  # as above
    """``spec`` with the normalisation their configuration states."""
    scale, shift = config.get("scaling_factor", 0.18215), config.get("shift_factor")
    mean, std = config.get("latents_mean"), config.get("latents_std")
    if mean is None and std is None:
        return spec.from_convention(scale, 0.0 if shift is None else shift)
    if mean is None or std is None or shift is not None:
        raise ValueError(
            f"{NAME}: latents_mean and latents_std come together and without shift_factor, "
            f"got latents_mean={mean}, latents_std={std}, shift_factor={shift}"
        )
    return spec.from_convention([scale / value for value in std], mean)


def tensors_from(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their state dict in our layout: q, k and v fused, linear layers as 1x1 convolutions."""
    tensors = dict(tensors)
    for path in _ATTENTIONS:
        for leaf in ("weight", "bias"):
            for old, new in _OLD_ATTENTION.items():
                if f"{path}.{old}.{leaf}" in tensors:
                    tensors[f"{path}.{new}.{leaf}"] = tensors.pop(f"{path}.{old}.{leaf}")
            if f"{path}.to_q.{leaf}" in tensors:
                parts = [tensors.pop(f"{path}.to_{name}.{leaf}") for name in "qkv"]
                tensors[f"{path}.qkv.{leaf}"] = torch.cat(parts)
        for name in ("qkv", "to_out.0"):
            if f"{path}.{name}.weight" in tensors:
                weight = tensors[f"{path}.{name}.weight"]
                tensors[f"{path}.{name}.weight"] = weight.reshape(*weight.shape[:2], 1, 1)
    return _KEYS.to_ours(tensors)


def tensors_to(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict in their layout, the inverse of ``tensors_from``."""
    theirs = _KEYS.to_theirs(tensors)
    for path in _ATTENTIONS:
        if f"{path}.qkv.weight" not in theirs:
            continue
        for leaf in ("weight", "bias"):
            for name, part in zip("qkv", theirs.pop(f"{path}.qkv.{leaf}").chunk(3), strict=True):
                theirs[f"{path}.to_{name}.{leaf}"] = part.flatten(1) if leaf == "weight" else part
        theirs[f"{path}.to_out.0.weight"] = theirs[f"{path}.to_out.0.weight"].flatten(1)
    return theirs


def config_to(autoencoder: Autoencoder) -> dict[str, Any]:  # the arguments of their class
    """Their configuration for our network, without the latent convention.

    Raises:
        ValueError: if the class cannot express the bottleneck.
    """
    encoder, decoder = autoencoder.encoder, autoencoder.decoder
    assert isinstance(encoder, Encoder)  # the caller chose this file by the encoder's class
    assert isinstance(decoder, Decoder)
    channels = decoder.conv_in.in_channels
    if encoder.conv_out.out_channels != 2 * channels:
        raise ValueError(
            f"{NAME} has a Gaussian posterior: only a tokenizer with bottleneck kl can be exported to it"
        )
    levels = [
        [block for block in level if isinstance(block, ResBlock)]
        for level in encoder.levels
        if isinstance(level, Level)
    ]
    widths = [level[0].conv1.out_channels for level in levels]
    return {
        "in_channels": 3,
        "out_channels": 3,
        "down_block_types": ("DownEncoderBlock2D",) * len(widths),
        "up_block_types": ("UpDecoderBlock2D",) * len(widths),
        "block_out_channels": tuple(widths),
        "layers_per_block": len(levels[0]),
        "latent_channels": channels,
        "norm_num_groups": encoder.norm_out.num_groups,
        "mid_block_add_attention": not isinstance(encoder.mid.attention, nn.Identity),
        "use_quant_conv": not isinstance(encoder.quant_conv, nn.Identity),
        "use_post_quant_conv": not isinstance(decoder.post_quant_conv, nn.Identity),
    }


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
