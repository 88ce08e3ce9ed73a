"""Cut a tokenizer's latent to its first channels; the result is an ordinary tokenizer folder.

``python -m tokenizer.slice source=RUN channels=N out=FOLDER``

It equals the whole model with the other channels set to 0 before the decoder: meant for a structured latent, whose
first channels were trained to stand alone (``channel_dropping``).

Source: Chen et al. 2025, DC-AE 1.5: Accelerating Diffusion Model Convergence with Structured Latent Space,
arXiv 2508.00413 (a decoder that reads the first channels).

Letters: B batch, C latent channels, c channels kept.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from einops import rearrange
from pydantic import Field
from torch import Tensor

from tokenizer.config import TokenizerConfig
from tokenizer.core import checkpoint
from tokenizer.core.config import Config, from_cli, refusals
from tokenizer.loading import config_of, find, load
from tokenizer.model import Autoencoder
from tokenizer.spec import LatentSpec, PartSpec

_TOLERANCE = 1e-4  # of the range: rounding stays far below it, a tensor cut in the wrong place far above


class SliceConfig(Config):
    """Cut a tokenizer's latent to its first channels and write an ordinary tokenizer folder."""

    source: str = Field(description="a folder of ours or of diffusers, hf:org/name, or a bundled model")
    channels: int = Field(ge=1, description="first channels to keep, fewer than the tokenizer has")
    out: Path = Field(description="the folder to write; it must not exist")


@runtime_checkable
class Sliceable(Protocol):
    """A backbone whose latent can lose channels."""

    def latent_layers(self) -> tuple[str, str]:
        """Names of the encoder's last and the decoder's first layer; ValueError where more touches the latent."""
        ...


def sliced(model: Autoencoder, config: TokenizerConfig, channels: int) -> Autoencoder:
    """A new autoencoder, in eval mode, that knows the first ``channels`` of the latent alone.

    Args:
        model: the whole one, on the CPU.
        config: what it is made of.
        channels: c, fewer than it has.

    Raises:
        ValueError: if there are not that many channels, or the ends of this model cannot be cut.
    """
    whole = model.spec.z.channels
    if not 1 <= channels < whole:
        raise ValueError(f"channels={channels} must be 1 to {whole - 1}: this tokenizer has {whole}")
    if not isinstance(config.backbone, Sliceable):
        raise ValueError(
            f"a tokenizer with backbone {config.backbone.kind} cannot be cut: it does not name the layers that "
            "touch its latent alone (latent_layers)"
        )
    if model.bottleneck.codes is not None or model.bottleneck.state_dict():
        raise ValueError(
            f"a tokenizer with bottleneck {config.bottleneck.kind} cannot be cut: "
            "its codes or weights belong to all channels together"
        )
    last, first = config.backbone.latent_layers()
    backbone = config.backbone.model_dump() | {"latent_channels": channels}
    with torch.device("meta"):
        cut = TokenizerConfig.parse(config.model_dump() | {"backbone": backbone}).build()
    state = {name: value.detach().clone() for name, value in model.state_dict().items()}
    for name in ("weight", "bias"):
        key = f"encoder.{last}.{name}"
        # groups: a posterior's mean and logvar follow one another, C channels each
        groups = rearrange(state[key], "(g c) ... -> g c ...", c=whole)
        state[key] = groups[:, :channels].flatten(0, 1).contiguous()
    key = f"decoder.{first}.weight"
    state[key] = state[key][:, :channels].contiguous()
    cut.load_state_dict(state, assign=True)
    cut.spec = cut_spec(model.spec, channels)
    return cut.eval().requires_grad_(False)


def cut_spec(spec: LatentSpec, channels: int) -> LatentSpec:
    """The spec of the first channels, their statistics kept."""
    part = spec.z
    data = part.model_dump() | {
        "channels": channels,
        "mean": None if part.mean is None else part.mean[:channels],
        "std": None if part.std is None else part.std[:channels],
    }
    return spec.model_copy(update={"parts": (PartSpec.parse(data),)})


@torch.inference_mode()
def difference(whole: Autoencoder, cut: Autoencoder, x: Tensor) -> float:
    """Largest difference of latents and pictures between ``cut`` and ``whole`` masked, a fraction of their range.

    x (B, 3, H, W) in [-1, 1], its sides multiples of the factor; latents raw.
    """
    channels = cut.spec.z.channels
    z = whole.bottleneck(whole.encoder(x)).z
    z_cut = cut.bottleneck(cut.encoder(x)).z
    masked = torch.cat([z[:, :channels], torch.zeros_like(z[:, channels:])], dim=1)
    return max(_apart(z_cut, z[:, :channels]), _apart(cut.decoder(z_cut), whole.decoder(masked)))


def _apart(one: Tensor, other: Tensor) -> float:
    span = (other.max() - other.min()).clamp_min(torch.finfo(other.dtype).tiny)
    return float((one - other).abs().max() / span)


def run(config: SliceConfig) -> float:
    """Cut, compare with the masked whole, write; returns their difference as a fraction of the range.

    Raises:
        ValueError: if ``out`` exists, the source cannot be cut, or the cut model is not the masked whole.
    """
    if config.out.exists():
        raise ValueError(f"{config.out} exists: remove it first or give another folder")
    source = find(config.source)
    parts = config_of(config.source)
    whole = load(config.source)
    cut = sliced(whole, parts, config.channels)
    factor = whole.spec.z.spatial_factor
    x = torch.rand(1, 3, 3 * factor, 2 * factor, generator=torch.Generator().manual_seed(0)) * 2 - 1
    apart = difference(whole, cut, x)
    if not apart <= _TOLERANCE:  # so that NaN fails too
        raise ValueError(
            f"{config.source} cut gives other output than masked: {apart:.1e} of the range apart"
        )
    settings = checkpoint.read_config(source)
    backbone = parts.backbone.model_dump(mode="json") | {"latent_channels": config.channels}
    about = {
        "format": 1,
        "kind": "tokenizer",
        "model": parts.model_dump(mode="json") | {"backbone": backbone},
        "spec": cut.spec.model_dump(mode="json"),
        "licence": settings.get("licence"),
        "figures": None,  # those of the source were measured with all channels
        "preset": settings.get("preset"),
        "sliced_from": whole.spec_id,
    }
    checkpoint.save_folder(config.out, about, {"model": cut.state_dict()})
    return apart


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    config = from_cli(SliceConfig, "tokenizer.slice", argv=argv)
    with refusals("tokenizer.slice"):
        apart = run(config)
        spec = load(config.out).spec
    sys.stdout.write(
        f"{config.out}: the first {config.channels} channels, {apart:.1e} of the range from the whole model masked\n"
    )
    if not spec.has_statistics:
        sys.stdout.write(
            f"it has no latent statistics yet: python -m tokenizer.stats source={config.out} data.path=PICTURES\n"
        )


if __name__ == "__main__":
    main()
