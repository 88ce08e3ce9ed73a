"""diffusers' AutoencoderVidTok: its own layers, relieved of what they keep.

Its causal convolutions and resampling write their last input into attributes of their own at every call. They are
replaced by layers with the same parameters that keep nothing. Since the decoder interpolates every frame towards the
next, a clip goes through whole.

Letters: B clips, C channels, T frames, H W rows and columns.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.bottlenecks.fsq import FSQ
from tokenizer.bottlenecks.kl import KL
from tokenizer.diffusers_video_spec import FSQ_LEVELS
from tokenizer.layers.causal import Cache

NAME = "AutoencoderVidTok"


class CausalConv(nn.Module):
    """A convolution over time, or over time and space: copies of the first frame stand before it."""

    def __init__(self, theirs: Any) -> None:  # their classes are not typed
        super().__init__()
        self.conv = theirs.conv
        self.past: int = theirs.time_pad
        self.padding: tuple[int, ...] = getattr(theirs, "spatial_padding", ())
        self.mode: str = getattr(theirs, "pad_mode", "constant")

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, T) or (B, C, T, H, W) -> the same with other channels."""
        x = _before(x, self.past)
        if any(self.padding):
            x = F.pad(x, self.padding, mode=self.mode)
        out: Tensor = self.conv(x)
        return out


class Downsample(nn.Module):
    """Half the frames: a mean over three and a strided convolution, mixed."""

    def __init__(self, theirs: Any) -> None:  # as above
        super().__init__()
        self.pool = theirs.avg_pool
        self.conv = CausalConv(theirs.conv)
        self.mix_factor = theirs.mix_factor

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, T, H, W), T even -> (B, C, T / 2, H, W)."""
        share = torch.sigmoid(self.mix_factor)
        pooled: Tensor = self.pool(_before(x, 1).float()).to(x.dtype)
        mixed: Tensor = share * pooled + (1 - share) * self.conv(x)
        return mixed


class Upsample(nn.Module):
    """Twice the frames: linear interpolation, and a convolution of it, mixed.

    The frames that stand for the clip's first are interpolated on their own.
    """

    def __init__(self, theirs: Any) -> None:  # as above
        super().__init__()
        self.conv = CausalConv(theirs.conv)
        self.mix_factor = theirs.mix_factor
        self.alone: int = theirs.num_temp_upsample
        self.mode: str = theirs.interpolation_mode

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, T, H, W) -> (B, C, 2 T, H, W)."""
        share = torch.sigmoid(self.mix_factor)
        x = torch.cat(
            [
                F.interpolate(part.float(), scale_factor=(2.0, 1.0, 1.0), mode=self.mode).to(x.dtype)
                for part in (x[:, :, : self.alone], x[:, :, self.alone :])
                if part.shape[2]
            ],
            dim=2,
        )
        mixed: Tensor = share * x + (1 - share) * self.conv(x)
        return mixed


class Encoder(nn.Module):
    """x (B, 3, T, H, W) -> h (B, C, T', H', W')."""

    def __init__(self, module: Any, factor: int) -> None:  # as above
        super().__init__()
        self.network = module.encoder
        self.before = factor - 1 if module.config.is_causal else 0

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """A whole clip; the first frame fills the group of its latent frame where the family is causal."""
        h: Tensor = self.network(_before(x, self.before))
        return h


class Decoder(nn.Module):
    """z (B, C, T', H', W') -> x_hat (B, 3, T, H, W)."""

    def __init__(self, module: Any, factor: int) -> None:  # as above
        super().__init__()
        self.network = module.decoder
        self.before = factor - 1 if module.config.is_causal else 0

    def forward(self, z: Tensor, cache: Cache | None = None) -> Tensor:
        """The latents of a whole clip."""
        x_hat: Tensor = self.network(z)
        return x_hat[:, :, self.before :]


def keep_nothing(network: nn.Module) -> None:
    """Replace every layer of theirs that writes into its own attributes."""
    from diffusers.models.autoencoders import autoencoder_vidtok as theirs

    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, theirs.VidTokDownsample3D) and child.is_causal:
                setattr(module, name, Downsample(child))
            elif isinstance(child, theirs.VidTokUpsample3D) and child.is_causal:
                setattr(module, name, Upsample(child))
            elif isinstance(child, theirs.VidTokCausalConv1d | theirs.VidTokCausalConv3d):
                setattr(module, name, CausalConv(child))


def parts(module: Any, factor: int) -> tuple[nn.Module, FSQ | KL, nn.Module]:  # as above
    """Encoder, bottleneck and decoder that share the layers of a module of theirs."""
    keep_nothing(module)
    channels = module.config.z_channels
    discrete = module.config.regularizer == "fsq"
    bottleneck = FSQ((FSQ_LEVELS,) * channels) if discrete else KL(channels)
    return Encoder(module, factor), bottleneck, Decoder(module, factor)


def _before(x: Tensor, count: int) -> Tensor:
    """Copies of the first frame in front of x (B, C, T, ...)."""
    if not count:
        return x
    return torch.cat([x[:, :, :1].expand(-1, -1, count, *x.shape[3:]), x], dim=2)
