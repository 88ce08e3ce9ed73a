"""Grow an image tokenizer into a video tokenizer that makes the same of still frames before it is trained.

``python -m tokenizer.inflate source=IMAGE_TOKENIZER time_levels=[1,2] out=FOLDER``, then ``init=FOLDER`` in training.

Kernels go to the last frame of their 3D kernels, which is the present one; the earlier frames begin at 0. Layers along
time begin as copies of the present frame. The latent statistics stay: of still frames the latents are the same.

Source: Yu et al. 2023, Language Model Beats Diffusion (MAGVIT-v2), arXiv 2310.05737, section 3.2 and appendix A
(inflation for causal convolutions; the tail of the kernel).

Letters: B batch, H W rows and columns.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor

from tokenizer.backbones.kl import KLBackboneConfig
from tokenizer.config import TokenizerConfig
from tokenizer.core import checkpoint
from tokenizer.core.config import Config, from_cli, refusals
from tokenizer.loading import config_of, find, load
from tokenizer.model import Autoencoder

_TOLERANCE = 1e-4  # of the range: rounding stays far below it, a tensor in the wrong place far above


class InflateConfig(Config):
    """Grow an image tokenizer (backbone kl) into a causal video tokenizer that makes the same of still frames."""

    source: str = Field(description="a folder of ours or of diffusers, hf:org/name, or a bundled model")
    time_levels: tuple[int, ...] = Field(
        default=(1, 2), description="resolutions (0: the pixels') behind which the frames are halved too"
    )
    out: Path = Field(description="the folder to write; it must not exist")


def inflated_config(config: TokenizerConfig, time_levels: Sequence[int]) -> TokenizerConfig:
    """What the video tokenizer is made of.

    Raises:
        ValueError: if this backbone has no causal counterpart.
    """
    backbone = config.backbone
    if not isinstance(backbone, KLBackboneConfig):
        raise ValueError(f"a tokenizer with backbone {backbone.kind} cannot be inflated, only one with kl")
    if backbone.encoder_attention or backbone.decoder_attention:
        raise ValueError(
            "attention between the blocks (encoder_attention, decoder_attention) has no counterpart"
        )
    same = ("latent_channels", "widths", "blocks_per_level", "norm_groups", "mid_attention", "quant_conv")
    tree = {name: getattr(backbone, name) for name in (*same, "post_quant_conv")}
    video = {"kind": "causal3d", "time_levels": time_levels} | tree
    return TokenizerConfig.parse(config.model_dump() | {"backbone": video})


def inflated(model: Autoencoder, config: TokenizerConfig, time_levels: Sequence[int]) -> Autoencoder:
    """The video tokenizer, in eval mode, with the weights of an image tokenizer on the CPU.

    Raises:
        ValueError: if the backbone has no causal counterpart, or the time levels do not fit it.
    """
    video = inflated_config(config, time_levels).build()
    left = dict(model.state_dict())
    state = {name: _grown(name, value, left) for name, value in video.state_dict().items()}
    if left:
        raise ValueError(f"weights without a place in the video tokenizer: {', '.join(sorted(left))}")
    video.load_state_dict(state)
    if model.spec.has_statistics:
        part = model.spec.z
        video.spec = video.spec.with_statistics({part.name: (part.mean or (), part.std or ())})
    return video.eval().requires_grad_(False)


def _grown(name: str, fresh: Tensor, left: dict[str, Tensor]) -> Tensor:
    """The value of a video weight, made from an image weight, which is taken out of ``left``, or a layer along time."""
    value = torch.zeros_like(fresh)
    if ".time.conv." in name:
        if name.endswith("weight"):
            value[:, :, -1, 0, 0] = torch.eye(len(fresh))
        return value
    plain = name.replace(".conv.weight", ".weight").replace(".conv.bias", ".bias")
    source = left.pop(name if name in left and left[name].shape[:2] == fresh.shape[:2] else plain)
    if source.ndim == fresh.ndim:
        return source
    value[:, :, -1] = source
    return value


@torch.inference_mode()
def difference(image: Autoencoder, video: Autoencoder, x: Tensor) -> float:
    """Largest difference of latents and pixels of still clips from those of their picture, a fraction of the range.

    x (B, 3, H, W) in [-1, 1], its sides multiples of the factor.
    """
    frames = 2 * video.spec.z.temporal_factor + 1
    still = x.unsqueeze(2).expand(-1, -1, frames, -1, -1)
    z, z_clip = (
        model.bottleneck(model.to_features(pixels)).z for model, pixels in ((image, x), (video, still))
    )
    x_hat, clip = image.to_pixels(z, tuple(x.shape[2:])), video.to_pixels(z_clip, tuple(still.shape[2:]))
    return max(
        float((ours - theirs.unsqueeze(2)).abs().max() / (theirs.max() - theirs.min()).clamp_min(1e-12))
        for ours, theirs in ((z_clip, z), (clip, x_hat))
    )


def run(config: InflateConfig) -> float:
    """Grow, compare on still frames, write; returns the difference as a fraction of the range.

    Raises:
        ValueError: if ``out`` exists, the source cannot be inflated, or still frames come out differently.
    """
    if config.out.exists():
        raise ValueError(f"{config.out} exists: remove it first or give another folder")
    source, parts, image = find(config.source), config_of(config.source), load(config.source)
    video = inflated(image, parts, config.time_levels)
    factor = image.spec.z.spatial_factor
    x = torch.rand(1, 3, 3 * factor, 2 * factor, generator=torch.Generator().manual_seed(0)) * 2 - 1
    apart = difference(image, video, x)
    if not apart <= _TOLERANCE:  # so that NaN fails too
        raise ValueError(
            f"{config.source} inflated makes something else of still frames: {apart:.1e} of the range"
        )
    settings = checkpoint.read_config(source)
    about = {
        "format": 1,
        "kind": "tokenizer",
        "model": inflated_config(parts, config.time_levels).model_dump(mode="json"),
        "spec": video.spec.model_dump(mode="json"),
        "licence": settings.get("licence"),
        "figures": None,  # those of the source are of pictures
        "preset": settings.get("preset"),
        "inflated_from": image.spec_id,
    }
    checkpoint.save_folder(config.out, about, {"model": video.state_dict()})
    return apart


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    config = from_cli(InflateConfig, "tokenizer.inflate", argv=argv)
    with refusals("tokenizer.inflate"):
        apart = run(config)
    sys.stdout.write(f"{config.out}: still frames come out as pictures did, {apart:.1e} of the range apart\n")


if __name__ == "__main__":
    main()
