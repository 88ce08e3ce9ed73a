"""The latent of diffusers' video autoencoders, read from their ``config.json`` and, for one of them, two small tensors.

No torch is imported, so that a process which only checks shapes can use it. AutoencoderKLLTXVideo keeps the mean and
deviation of its latents in the weights file; ``statistics_in`` reads those two alone. How each class sees time:

* AutoencoderKLWan: causal, frame 0 alone.
* AutoencoderKLCogVideoX: its group norms see chunks of 8 frames, the first of 9, so that it is chunk-causal.
* AutoencoderVidTok: its decoder interpolates towards the next frame, or nothing in it is causal: whole clips.
* AutoencoderKLLTXVideo: its decoder looks ahead by default, and its class keeps no memory: whole clips.
"""

from __future__ import annotations

import json
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tokenizer.spec import LatentSpec, PartSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

COGVIDEOX_CHUNK = 8
COGVIDEOX_SCALE = 1.15258426
FSQ_LEVELS = 8


class Statistics(NamedTuple):
    """Mean and standard deviation of each channel."""

    mean: list[float]
    std: list[float]


def wan(config: Mapping[str, Any], statistics: Statistics | None) -> LatentSpec:  # JSON of another project
    """AutoencoderKLWan: (z - latents_mean) / latents_std a channel."""
    _only(
        "AutoencoderKLWan", config, in_channels=3 * _patch(config) ** 2, out_channels=3 * _patch(config) ** 2
    )
    stages = config.get("dim_mult", [1, 2, 4, 4])
    halved = config.get("temperal_downsample", [False, True, True])
    if config.get("latents_mean") is None or config.get("latents_std") is None:
        raise ValueError("AutoencoderKLWan: config.json lacks latents_mean or latents_std")
    spec = LatentSpec(
        parts=(
            PartSpec(
                layout="3d",
                channels=config.get("z_dim", 16),
                spatial_factor=2 ** (len(stages) - 1) * _patch(config),
                temporal_factor=2 ** sum(halved),
            ),
        ),
        time="causal",
        first_frame_alone=True,
    )
    return spec.from_convention([1.0 / value for value in config["latents_std"]], config["latents_mean"])


def cogvideox(config: Mapping[str, Any], statistics: Statistics | None) -> LatentSpec:  # as above
    """AutoencoderKLCogVideoX: z * scaling_factor."""
    _only(
        "AutoencoderKLCogVideoX",
        config,
        in_channels=3,
        out_channels=3,
        temporal_compression_ratio=4,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    widths = config.get("block_out_channels", [128, 256, 256, 512])
    spec = LatentSpec(
        parts=(
            PartSpec(
                layout="3d",
                channels=config.get("latent_channels", 16),
                spatial_factor=2 ** (len(widths) - 1),
                temporal_factor=4,
            ),
        ),
        time="chunk_causal",
        chunk_frames=COGVIDEOX_CHUNK,
        first_frame_alone=True,
    )
    return spec.from_convention(config.get("scaling_factor", COGVIDEOX_SCALE))


def vidtok(config: Mapping[str, Any], statistics: Statistics | None) -> LatentSpec:  # as above
    """AutoencoderVidTok: z as it is, or codes of 8 levels a channel."""
    discrete = config.get("regularizer", "kl") == "fsq"
    _only("AutoencoderVidTok", config, in_channels=3, out_channels=3, double_z=not discrete)
    channels, stages = config.get("z_channels", 4), len(config.get("ch_mult", [1, 2, 4, 4]))
    halved, shortened = config.get("spatial_ds"), config.get("tempo_ds")
    spec = LatentSpec(
        parts=(
            PartSpec(
                layout="3d",
                channels=channels,
                spatial_factor=2 ** (stages - 1 if halved is None else len(halved)),
                temporal_factor=2 ** (2 if shortened is None else len(shortened)),
                codebook_size=FSQ_LEVELS**channels if discrete else None,
            ),
        ),
        time="global",
        first_frame_alone=config.get("is_causal", True),
    )
    return spec.from_convention(1.0)


def ltx(config: Mapping[str, Any], statistics: Statistics | None) -> LatentSpec:  # as above
    """AutoencoderKLLTXVideo: (z - latents_mean) * scaling_factor / latents_std, the two from its weights."""
    name = "AutoencoderKLLTXVideo"
    _only(name, config, in_channels=3, out_channels=3, patch_size_t=1)
    if any(config.get("decoder_inject_noise") or ()):
        raise ValueError(f"{name} with decoder_inject_noise draws from a random state that no caller owns")
    if statistics is None:
        raise ValueError(f"{name} keeps latents_mean and latents_std in its weights: they are needed too")
    halved = sum(config.get("spatio_temporal_scaling", [True, True, True, False]))
    factors = (config.get("spatial_compression_ratio"), config.get("temporal_compression_ratio"))
    spec = LatentSpec(
        parts=(
            PartSpec(
                layout="3d",
                channels=config.get("latent_channels", 128),
                spatial_factor=factors[0] or config.get("patch_size", 4) * 2**halved,
                temporal_factor=factors[1] or 2**halved,
            ),
        ),
        time="global",
        first_frame_alone=True,
    )
    scale = config.get("scaling_factor", 1.0)
    return spec.from_convention([scale / value for value in statistics.std], statistics.mean)


VIDEO_SPECS: dict[str, Callable[[Mapping[str, Any], Statistics | None], LatentSpec]] = {
    "AutoencoderKLCogVideoX": cogvideox,
    "AutoencoderKLLTXVideo": ltx,
    "AutoencoderKLWan": wan,
    "AutoencoderVidTok": vidtok,
}


def statistics_in(weights: Path) -> Statistics | None:
    """``latents_mean`` and ``latents_std`` of a safetensors file, None where it has none; nothing else is read.

    Raises:
        ValueError: if the file is no safetensors, or they are of a type that is not read here.
    """
    try:
        with weights.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length))
            if "latents_mean" not in header or "latents_std" not in header:
                return None
            found = []
            for name in ("latents_mean", "latents_std"):
                first, last = header[name]["data_offsets"]
                stream.seek(8 + length + first)
                found.append(
                    _numbers(stream.read(last - first), header[name]["dtype"], header[name]["shape"])
                )
    except (OSError, KeyError, TypeError, ValueError, MemoryError, OverflowError) as error:
        raise ValueError(f"{weights} is damaged: {error}") from None
    return Statistics(*found)


def _numbers(content: bytes, dtype: str, shape: list[int]) -> list[float]:
    if dtype == "BF16":  # the upper half of a float32
        values = (np.frombuffer(content, dtype="<u2").astype(np.uint32) << 16).view(np.float32)
    elif dtype in ("F16", "F32"):
        values = np.frombuffer(content, dtype={"F16": "<f2", "F32": "<f4"}[dtype]).astype(np.float32)
    else:
        raise ValueError(f"latent statistics of type {dtype}: F32, F16 or BF16 can be read")
    if len(values) != prod(shape):
        raise ValueError(f"latent statistics of shape {shape} with {len(values)} values")
    return [float(value) for value in values]


def _patch(config: Mapping[str, Any]) -> int:  # as above
    return config.get("patch_size") or 1


def _only(name: str, config: Mapping[str, Any], **wanted: object) -> None:  # as above
    """ValueError naming a setting that is not supported; what is left out is right by default."""
    for key, value in wanted.items():
        if config.get(key, value) != value:
            raise ValueError(f"{name} with {key}={config[key]!r} cannot be used: it must be {value!r}")
