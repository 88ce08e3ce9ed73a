"""The latent of diffusers' autoencoders, read from their ``config.json`` alone: no networks, no torch.

They state one scale, and some one shift, for all channels, or a mean and standard deviation a channel; each is
told in ``spec_of``. The networks themselves are converted by ``tokenizer.adapters.diffusers``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tokenizer.diffusers_video_spec import VIDEO_SPECS, statistics_in
from tokenizer.spec import LatentSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

IMAGE_NAMES = ("AutoencoderDC", "AutoencoderKL", "AutoencoderTiny", "VQModel")
NAMES = (*IMAGE_NAMES, *VIDEO_SPECS)
# What AutoencoderKL and VQModel mean where they say nothing: old folders (sd-vae-ft-mse) leave it out.
DEFAULT_SCALE = 0.18215

# By class: the list with one entry a resolution and its length where it is left out, latent channels, scale.
_RESOLUTIONS = {
    "AutoencoderDC": ("encoder_block_out_channels", 6),
    "AutoencoderKL": ("block_out_channels", 1),
    "AutoencoderTiny": ("num_encoder_blocks", 4),
    "VQModel": ("block_out_channels", 1),
}
_CHANNELS = {"AutoencoderDC": 32, "AutoencoderKL": 4, "AutoencoderTiny": 4, "VQModel": 3}
_SCALES = {
    "AutoencoderDC": 1.0,
    "AutoencoderKL": DEFAULT_SCALE,
    "AutoencoderTiny": 1.0,
    "VQModel": DEFAULT_SCALE,
}


def spec_of(
    config: Mapping[str, Any], weights: Path | None = None
) -> LatentSpec:  # JSON of another project, read key by key
    """The spec of a folder of theirs, normalised as its configuration states.

    Args:
        config: with ``_class_name``, one of ``NAMES``.
        weights: the safetensors file beside it; AutoencoderKLLTXVideo has its latent's statistics there.

    Raises:
        ValueError: if the class is another one, or what it says about its latent contradicts itself.
    """
    name = config.get("_class_name")
    if name not in NAMES:
        raise ValueError(f"class {name!r} is not known here, only {', '.join(NAMES)}")
    if name in VIDEO_SPECS:
        return VIDEO_SPECS[name](config, None if weights is None else statistics_in(weights))
    channels = config.get("latent_channels", _CHANNELS[name])
    codebook_size = None
    if name == "VQModel":
        embedded = config.get("vq_embed_dim")
        channels = channels if embedded is None else embedded
        codebook_size = config.get("num_vq_embeddings", 256)
    spec = LatentSpec.image(channels, spatial_factor_of(config), codebook_size=codebook_size)
    scale, shift = config.get("scaling_factor", _SCALES[name]), config.get("shift_factor")
    mean, std = (config.get(f"latents_{key}") if name == "AutoencoderKL" else None for key in ("mean", "std"))
    if mean is None and std is None:
        has_shift = name in ("AutoencoderKL", "AutoencoderTiny")
        return spec.from_convention(scale, (shift or 0.0) if has_shift else 0.0)
    if mean is None or std is None or shift is not None:
        raise ValueError(
            f"{name}: latents_mean and latents_std come together and without shift_factor, "
            f"got latents_mean={mean}, latents_std={std}, shift_factor={shift}"
        )
    return spec.from_convention([scale / value for value in std], mean)


def spatial_factor_of(config: Mapping[str, Any]) -> int:  # as above
    """Pixels a side for one latent position, for a configuration of one of ``IMAGE_NAMES``."""
    key, default = _RESOLUTIONS[config["_class_name"]]
    listed = config.get(key)
    return int(2 ** ((default if listed is None else len(listed)) - 1))
