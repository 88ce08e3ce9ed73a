"""diffusers' AutoencoderDC: its configuration, its tensor names, its latent convention.

A latent is normalised there as ``z * scaling_factor`` with scaling_factor = 1 / rms over all channels.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tokenizer.adapters.diffusers.convention import Statistics, one_scale, refuse
from tokenizer.adapters.diffusers.keys import KeyTable, Pair
from tokenizer.backbones.dcae import Decoder, EfficientViTBlock, Encoder, ResBlock
from tokenizer.backbones.dcae.resampling import Downsample, Upsample
from tokenizer.config import TokenizerConfig
from tokenizer.model import Autoencoder

NAME = "AutoencoderDC"

_BLOCKS = {"ResBlock": "res", "EfficientViTBlock": "efficientvit"}
_NORMS = {"rms_norm": "rms", "batch_norm": "batch"}
_ACTIVATIONS = {"silu": "silu", "swish": "silu", "relu": "relu"}
# They resample without moving pixels under any other name than the one that does; the hub writes these.
_DOWNSAMPLING = {"pixel_unshuffle": "unshuffle", "conv": "conv", "Conv": "conv"}
_UPSAMPLING = {"pixel_shuffle": "shuffle", "interpolate": "interpolate"}
_MULTISCALES = ((), (), (), (5,), (5,), (5,))  # their default

_IN_A_BLOCK = (
    ("attn.to_qkv_multiscale.#.proj_in.", "attention.scales.#.depthwise."),
    ("attn.to_qkv_multiscale.#.proj_out.", "attention.scales.#.point."),
    ("attn.to_out.", "attention.proj."),
    ("attn.norm_out.", "attention.norm."),
    ("attn.", "attention."),
    ("conv_out.conv_inverted.", "feed_forward.inverted."),
    ("conv_out.conv_depth.", "feed_forward.depthwise."),
    ("conv_out.conv_point.", "feed_forward.point."),
    ("conv_out.norm.", "feed_forward.norm."),
    ("", ""),  # residual blocks and resampling have the same names
)
_KEYS = KeyTable(
    [
        *(Pair(f"encoder.down_blocks.#.#.{a}", f"encoder.stages.#.#.{b}") for a, b in _IN_A_BLOCK),
        *(Pair(f"decoder.up_blocks.#.#.{a}", f"decoder.stages.#.#.{b}") for a, b in _IN_A_BLOCK),
        Pair("encoder.conv_in.", "encoder.project_in."),
        Pair("encoder.conv_out.", "encoder.project_out."),
        Pair("decoder.conv_in.", "decoder.project_in."),
        Pair("decoder.norm_out.", "decoder.project_out.norm."),
        Pair("decoder.conv_out.", "decoder.project_out.conv."),
    ]
)


def config_from(config: Mapping[str, Any]) -> TokenizerConfig:  # JSON of another project, read key by key
    """Our configuration for theirs.

    Raises:
        ValueError: naming the setting that our network cannot express.
    """
    widths = tuple(config.get("encoder_block_out_channels", (128, 256, 512, 512, 1024, 1024)))
    stages = len(widths)
    blocks = _per_stage(config, "encoder_block_types", "ResBlock", stages, _BLOCKS)
    decoder_blocks = _per_stage(config, "decoder_block_types", "ResBlock", stages, _BLOCKS)
    norms = _per_stage(config, "decoder_norm_types", "rms_norm", stages, _NORMS)
    if config.get("in_channels", 3) != 3:
        refuse(NAME, "in_channels", config["in_channels"], 3)
    if tuple(config.get("decoder_block_out_channels", widths)) != widths:
        refuse(NAME, "decoder_block_out_channels", config["decoder_block_out_channels"], widths)
    if any(
        block == "efficientvit" and norm != "rms" for block, norm in zip(decoder_blocks, norms, strict=True)
    ):
        raise ValueError(f"{NAME}: an EfficientViTBlock stage needs decoder_norm_types 'rms_norm' there")
    return TokenizerConfig.parse(
        {
            "backbone": {
                "kind": "dcae",
                "latent_channels": config.get("latent_channels", 32),
                "widths": widths,
                "encoder_depths": tuple(config.get("encoder_layers_per_block", (2, 2, 2, 3, 3, 3))),
                "decoder_depths": tuple(config.get("decoder_layers_per_block", (3, 3, 3, 3, 3, 3))),
                "blocks": blocks,
                "decoder_blocks": None if decoder_blocks == blocks else decoder_blocks,
                "decoder_norms": norms,
                "decoder_activations": _per_stage(config, "decoder_act_fns", "silu", stages, _ACTIVATIONS),
                "head_dim": config.get("attention_head_dim", 32),
                "attention_kernels": _kernels(config, {"encoder": blocks, "decoder": decoder_blocks}),
                "downsampling": _one(config, "downsample_block_type", "pixel_unshuffle", _DOWNSAMPLING),
                "upsampling": _one(config, "upsample_block_type", "pixel_shuffle", _UPSAMPLING),
                "encoder_out_shortcut": config.get("encoder_out_shortcut", True),
                "decoder_in_shortcut": config.get("decoder_in_shortcut", True),
                "out_activation": _one(config, "decoder_conv_act_fn", "relu", _ACTIVATIONS),
            },
            "bottleneck": {"kind": "identity"},
        }
    )


def tensors_from(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their state dict in our layout.

    ``to_q``, ``to_k`` and ``to_v`` are the first, second and third third of one fused projection, whatever
    their names say: its channels hold [q, k, v] of head 0, then of head 1, and so on.
    """
    tensors = dict(tensors)
    for key in [key for key in tensors if key.endswith(".attn.to_q.weight")]:
        path = key.removesuffix("to_q.weight")
        fused = torch.cat([tensors.pop(f"{path}to_{name}.weight") for name in "qkv"])
        tensors[f"{path}qkv.weight"] = fused[:, :, None, None]
        tensors[f"{path}to_out.weight"] = tensors[f"{path}to_out.weight"][:, :, None, None]
    return _KEYS.to_ours(tensors)


def tensors_to(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict in their layout, the inverse of ``tensors_from``."""
    theirs = _KEYS.to_theirs(tensors)
    for key in [key for key in theirs if key.endswith(".attn.qkv.weight")]:
        path = key.removesuffix("qkv.weight")
        for name, third in zip("qkv", theirs.pop(key).chunk(3), strict=True):
            theirs[f"{path}to_{name}.weight"] = third.flatten(1)
        theirs[f"{path}to_out.weight"] = theirs[f"{path}to_out.weight"].flatten(1)
    return theirs


def config_to(autoencoder: Autoencoder) -> dict[str, Any]:  # the arguments of their class
    """Their configuration for our network, without the latent convention.

    Raises:
        ValueError: if the class cannot express the bottleneck.
    """
    encoder, decoder = autoencoder.encoder, autoencoder.decoder
    assert isinstance(encoder, Encoder)  # the caller chose this file by the encoder's class
    assert isinstance(decoder, Decoder)
    channels = decoder.project_in.in_channels
    if encoder.project_out.out_channels != channels:
        raise ValueError(
            f"{NAME} is deterministic: only a tokenizer with bottleneck identity can be exported to it"
        )
    sides = _sides(encoder.stages, decoder.stages)
    attentions = [block.attention for block in autoencoder.modules() if isinstance(block, EfficientViTBlock)]
    down = {module.conv.stride[0] for module in encoder.modules() if isinstance(module, Downsample)}
    up = {
        isinstance(module.after, nn.PixelShuffle)
        for module in decoder.modules()
        if isinstance(module, Upsample)
    }
    config: dict[str, Any] = {
        "in_channels": 3,
        "latent_channels": channels,
        "attention_head_dim": attentions[0].head_dim if attentions else 32,
        "upsample_block_type": "pixel_shuffle" if up == {True} else "interpolate",
        "downsample_block_type": "pixel_unshuffle" if down == {1} else "conv",
        "decoder_norm_types": tuple(stage.norm for stage in sides["decoder"]),
        "decoder_act_fns": tuple(stage.activation for stage in sides["decoder"]),
        "encoder_out_shortcut": encoder.out_shortcut,
        "decoder_in_shortcut": decoder.in_repeats > 0,
        "decoder_conv_act_fn": _activation(decoder.project_out.activation),
    }
    for side, stages in sides.items():
        config[f"{side}_block_types"] = tuple(stage.block for stage in stages)
        config[f"{side}_block_out_channels"] = tuple(stage.width for stage in stages)
        config[f"{side}_layers_per_block"] = tuple(stage.depth for stage in stages)
        config[f"{side}_qkv_multiscales"] = tuple(stage.kernels for stage in stages)
    return config


def raw_latent(module: Any, x: Tensor) -> Tensor:  # their class is not typed
    """What their module makes of x (B, 3, H, W), comparable to our raw z."""
    z: Tensor = module.encode(x).latent
    return z


def scaled(statistics: Statistics) -> dict[str, Any]:  # as above
    """The one scale nearest to ``statistics``; exact where the means are 0 and all channels agree."""
    return {"scaling_factor": one_scale(statistics)}


def fold(config: dict[str, Any], tensors: dict[str, Tensor], statistics: Statistics) -> None:  # as above
    """Change their network so that its own latents are normalised channel by channel, exactly.

    The shortcuts of the latent layers become the centre taps of the convolutions beside them, which then take
    the scale of each channel. A mean cannot move: the decoder's first convolution pads with zeros.

    Raises:
        ValueError: if a channel's mean is not 0.
    """
    if any(statistics.mean):
        raise ValueError(
            f"{NAME} pads raw latents with zeros, so a mean per channel cannot be folded into it exactly: "
            "export with latents=scaled, which keeps the raw latents and states one scale for all channels"
        )
    std = torch.tensor(statistics.std, dtype=torch.float64)
    out, into = tensors["encoder.conv_out.weight"].double(), tensors["decoder.conv_in.weight"].double()
    channels, width = out.shape[:2]
    wide, latent = torch.arange(width), torch.arange(width) // (width // channels)
    if config["encoder_out_shortcut"]:
        out[latent, wide, 1, 1] += channels / width
    if config["decoder_in_shortcut"]:
        into[wide, latent, 1, 1] += 1.0
    dtype = tensors["encoder.conv_out.weight"].dtype
    tensors["encoder.conv_out.weight"] = (out / std.view(-1, 1, 1, 1)).to(dtype)
    tensors["encoder.conv_out.bias"] = (tensors["encoder.conv_out.bias"].double() / std).to(dtype)
    tensors["decoder.conv_in.weight"] = (into * std.view(1, -1, 1, 1)).to(dtype)
    config |= {"encoder_out_shortcut": False, "decoder_in_shortcut": False, "scaling_factor": 1.0}


class _Stage(NamedTuple):
    """One stage in their words."""

    depth: int
    width: int
    block: str
    norm: str
    activation: str
    kernels: tuple[int, ...] = ()


def _sides(encoder: nn.ModuleList, decoder: nn.ModuleList) -> dict[str, list[_Stage]]:
    """Every stage of both; an empty first one, whose settings they do not read, follows its neighbours."""
    sides = {"encoder": _stages(encoder), "decoder": _stages(decoder)}
    stages = len(encoder)
    width = next((found[0].width for found in sides.values() if len(found) == stages), None)
    for found in sides.values():
        if len(found) < stages:
            found.insert(0, found[0]._replace(depth=0, width=width or found[0].width // 2))
    return sides


def _stages(stages: nn.ModuleList) -> list[_Stage]:
    """Every stage that has blocks."""
    found = []
    for stage in stages:
        assert isinstance(stage, nn.Sequential)  # as dcae builds it
        blocks = [block for block in stage if isinstance(block, ResBlock | EfficientViTBlock)]
        if blocks:
            found.append(_describe(blocks[0], len(blocks)))
    return found


def _describe(block: ResBlock | EfficientViTBlock, depth: int) -> _Stage:
    if isinstance(block, EfficientViTBlock):
        depthwise = [scale.get_submodule("depthwise") for scale in block.attention.scales]
        kernels = tuple(conv.kernel_size[0] for conv in depthwise if isinstance(conv, nn.Conv2d))
        width = block.feed_forward.point.out_channels
        return _Stage(depth, width, "EfficientViTBlock", "rms_norm", "silu", kernels)
    norm = "batch_norm" if isinstance(block.norm, nn.BatchNorm2d) else "rms_norm"
    return _Stage(depth, block.conv1.in_channels, "ResBlock", norm, _activation(block.activation))


def _activation(module: nn.Module) -> str:
    return "relu" if isinstance(module, nn.ReLU) else "silu"


def _per_stage(
    config: Mapping[str, Any], key: str, default: str, stages: int, names: Mapping[str, str]
) -> tuple[str, ...]:
    """One of our names a stage; they write one name for all, or a list."""
    value = config.get(key, default)
    listed = (value,) * stages if isinstance(value, str) else tuple(value)
    if len(listed) != stages or any(name not in names for name in listed):
        refuse(NAME, key, value, f"{stages} of {', '.join(names)}")
    return tuple(names[name] for name in listed)


def _one(config: Mapping[str, Any], key: str, default: str, names: Mapping[str, str]) -> str:
    """Our name for a setting that they write once."""
    return _per_stage(config, key, default, 1, names)[0]


def _kernels(config: Mapping[str, Any], sides: Mapping[str, tuple[str, ...]]) -> tuple[int, ...]:
    """The neighbourhoods that all attention stages of both sides share."""
    found: tuple[int, ...] | None = None
    for side, blocks in sides.items():
        key = f"{side}_qkv_multiscales"
        scales = [tuple(scale) for scale in config.get(key, _MULTISCALES)]
        if len(scales) != len(blocks):
            refuse(NAME, key, config.get(key, _MULTISCALES), f"{len(blocks)} entries, one a stage")
        for block, scale in zip(blocks, scales, strict=True):
            if block != "efficientvit":
                continue
            found = scale if found is None else found
            if scale != found:
                refuse(NAME, key, config.get(key, _MULTISCALES), f"{found} in every attention stage")
    return found or ()
