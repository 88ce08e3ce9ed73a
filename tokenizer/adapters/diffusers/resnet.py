"""What AutoencoderKL and VQModel share: the settings and the tensor names of diffusers' convolutional blocks."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tokenizer.adapters.diffusers.convention import refuse
from tokenizer.adapters.diffusers.keys import Pair
from tokenizer.layers.resnet import Attention, Chain, Decoder, Encoder, ResBlock

_SPATIAL = (("norm_layer.", "norm."), ("conv_y.", "scale."), ("conv_b.", "shift."))
# Attention names of folders saved before diffusers 0.15 (sd-vae-ft-mse is one).
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_TYPES = {
    "down_block_types": ("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
    "up_block_types": ("UpDecoderBlock2D", "AttnUpDecoderBlock2D"),
}


def pairs() -> Iterator[Pair]:
    """Names of the encoder's and the decoder's tensors, the most specific first."""
    yield Pair("quant_conv.", "encoder.quant_conv.")
    yield Pair("post_quant_conv.", "decoder.post_quant_conv.")
    for side, blocks, sampler in (
        ("encoder", "down_blocks", "downsamplers"),
        ("decoder", "up_blocks", "upsamplers"),
    ):
        resnets = (
            (f"{blocks}.#.resnets.#.", "levels.#.#."),
            ("mid_block.resnets.0.", "mid.block1."),
            ("mid_block.resnets.1.", "mid.block2."),
        )
        attentions = (
            (f"{blocks}.#.attentions.#.", "levels.#.attention#."),
            ("mid_block.attentions.0.", "mid.attention."),
        )
        for theirs, ours in resnets:
            for norm in ("norm1.", "norm2."):
                for a, b in _SPATIAL:
                    yield Pair(f"{side}.{theirs}{norm}{a}", f"{side}.{ours}{norm}{b}")
            yield Pair(f"{side}.{theirs}conv_shortcut.", f"{side}.{ours}shortcut.")
            yield Pair(f"{side}.{theirs}", f"{side}.{ours}")
        for theirs, ours in attentions:
            for a, b in _SPATIAL:
                yield Pair(f"{side}.{theirs}spatial_norm.{a}", f"{side}.{ours}norm.{b}")
            yield Pair(f"{side}.{theirs}group_norm.", f"{side}.{ours}norm.")
            yield Pair(f"{side}.{theirs}to_out.0.", f"{side}.{ours}proj.")
            yield Pair(f"{side}.{theirs}", f"{side}.{ours}")
        yield Pair(f"{side}.{blocks}.#.{sampler}.0.", f"{side}.levels.#.resample.")
        for a, b in _SPATIAL:
            yield Pair(f"{side}.conv_norm_out.{a}", f"{side}.norm_out.{b}")
        yield Pair(f"{side}.conv_norm_out.", f"{side}.norm_out.")
        yield Pair(f"{side}.conv_in.", f"{side}.conv_in.")
        yield Pair(f"{side}.conv_out.", f"{side}.conv_out.")


def fuse_attention(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their state dict with q, k and v in one tensor ``qkv``, and linear layers as 1x1 convolutions."""
    tensors = dict(tensors)
    for key in list(tensors):
        *path, layer, leaf = key.split(".")
        if layer in _OLD_ATTENTION and "attentions" in path:
            tensors[".".join((*path, _OLD_ATTENTION[layer], leaf))] = tensors.pop(key)
    for path_ in _paths(tensors, ".to_q.weight"):
        for leaf in ("weight", "bias"):
            parts = [tensors.pop(f"{path_}.to_{name}.{leaf}") for name in "qkv"]
            tensors[f"{path_}.qkv.{leaf}"] = torch.cat(parts)
        for name in ("qkv", "to_out.0"):
            weight = tensors[f"{path_}.{name}.weight"]
            tensors[f"{path_}.{name}.weight"] = weight.reshape(*weight.shape[:2], 1, 1)
    return tensors


def split_attention(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of ``fuse_attention``, under today's names."""
    tensors = dict(tensors)
    for path in _paths(tensors, ".qkv.weight"):
        for leaf in ("weight", "bias"):
            for name, part in zip("qkv", tensors.pop(f"{path}.qkv.{leaf}").chunk(3), strict=True):
                tensors[f"{path}.to_{name}.{leaf}"] = part.flatten(1) if leaf == "weight" else part
        tensors[f"{path}.to_out.0.weight"] = tensors[f"{path}.to_out.0.weight"].flatten(1)
    return tensors


def _paths(tensors: Mapping[str, Tensor], end: str) -> list[str]:
    return [key.removesuffix(end) for key in tensors if key.endswith(end)]


def layout_from(name: str, config: Mapping[str, Any]) -> dict[str, Any]:  # JSON of another project
    """The settings of our backbones that both classes have.

    Raises:
        ValueError: naming the setting of class ``name`` that our network cannot express.
    """
    widths = tuple(config.get("block_out_channels", (64,)))
    for key, default, wanted in (("in_channels", 3, 3), ("out_channels", 3, 3), ("act_fn", "silu", "silu")):
        if config.get(key, default) != wanted:
            refuse(name, key, config.get(key), wanted)
    return {
        "widths": widths,
        "blocks_per_level": config.get("layers_per_block", 1),
        "norm_groups": config.get("norm_num_groups", 32),
        "mid_attention": config.get("mid_block_add_attention", True),
        "encoder_attention": _attention(name, config, "down_block_types", len(widths)),
        "decoder_attention": _attention(name, config, "up_block_types", len(widths)),
    }


def _attention(name: str, config: Mapping[str, Any], key: str, levels: int) -> tuple[int, ...]:
    """Positions in the widths of blocks with attention; the decoder's are listed from the lowest resolution."""
    plain, attending = _TYPES[key]
    listed = list(config.get(key, [plain]))
    if len(listed) != levels or any(kind not in _TYPES[key] for kind in listed):
        refuse(name, key, listed, f"{levels} of {plain}, {attending}")
    if key == "up_block_types":
        listed.reverse()
    return tuple(index for index, kind in enumerate(listed) if kind == attending)


def layout_to(encoder: Encoder, decoder: Decoder) -> dict[str, Any]:  # the arguments of their classes
    """Their settings for the layout of ours, the inverse of ``layout_from``."""
    levels = [[block for block in level if isinstance(block, ResBlock)] for level in _chains(encoder.levels)]
    groups = encoder.norm_out.num_groups
    return {
        "in_channels": 3,
        "out_channels": 3,
        "down_block_types": _types(encoder.levels, "down_block_types"),
        "up_block_types": _types(decoder.levels, "up_block_types"),
        "block_out_channels": tuple(level[0].norm2.num_channels for level in levels),
        "layers_per_block": len(levels[0]),
        "norm_num_groups": groups,
        "mid_block_add_attention": isinstance(encoder.mid.attention, Attention),
    }


def _types(levels: nn.Module, key: str) -> tuple[str, ...]:
    plain, attending = _TYPES[key]
    return tuple(
        attending if any(isinstance(module, Attention) for module in level) else plain
        for level in _chains(levels)
    )


def _chains(levels: nn.Module) -> list[Chain]:
    return [level for level in levels.children() if isinstance(level, Chain)]
