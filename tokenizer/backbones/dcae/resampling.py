"""Half or twice the sides, with a shortcut that moves pixels into channels and back.

Source: Chen et al. 2024, Deep Compression Autoencoder for Efficient High-Resolution Diffusion Models,
arXiv 2410.10733, section 3.1 (residual autoencoding). The convolution may also do without moving pixels:
strided down, and after nearest-neighbour enlargement up, as in the autoencoder of SANA (arXiv 2410.10629).

Letters: B batch, C channels, H W rows and columns.
"""

from typing import Literal

from einops import reduce
from torch import Tensor, nn
from torch.nn import functional as F

Downsampling = Literal["unshuffle", "conv"]
Upsampling = Literal["shuffle", "interpolate"]


class Downsample(nn.Module):
    """Halve the sides with a convolution, plus a shortcut that averages groups of unshuffled channels.

    Args:
        in_channels: C.
        out_channels: C'.
        kind: "unshuffle": a quarter of the channels at full size, pixels moved into channels; "conv": strided.
        shortcut: whether there is one.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kind: Downsampling = "unshuffle", shortcut: bool = True
    ) -> None:
        super().__init__()
        if kind == "conv":
            self.conv = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        else:
            self.conv = nn.Conv2d(in_channels, out_channels // 4, 3, padding=1)
        self.after = nn.Identity() if kind == "conv" else nn.PixelUnshuffle(2)
        self.shortcut = shortcut
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C', H/2, W/2)."""
        h: Tensor = self.after(self.conv(x))
        if not self.shortcut:
            return h
        return h + mean_groups(F.pixel_unshuffle(x, 2), self.out_channels)


class Upsample(nn.Module):
    """Double the sides with a convolution, plus a shortcut that repeats channels and shuffles them.

    Args:
        in_channels: C.
        out_channels: C'.
        kind: "shuffle": four times the channels, moved into pixels; "interpolate": nearest neighbour first.
        shortcut: whether there is one.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kind: Upsampling = "shuffle", shortcut: bool = True
    ) -> None:
        super().__init__()
        shuffle = kind == "shuffle"
        self.before = nn.Identity() if shuffle else nn.Upsample(scale_factor=2.0, mode="nearest")
        self.conv = nn.Conv2d(in_channels, 4 * out_channels if shuffle else out_channels, 3, padding=1)
        self.after = nn.PixelShuffle(2) if shuffle else nn.Identity()
        self.shortcut = shortcut
        self.repeats = 4 * out_channels // in_channels

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C', 2H, 2W)."""
        h: Tensor = self.after(self.conv(self.before(x)))
        if not self.shortcut:
            return h
        return h + F.pixel_shuffle(x.repeat_interleave(self.repeats, dim=1), 2)


def mean_groups(x: Tensor, channels: int) -> Tensor:
    """Average contiguous groups of channels: x (B, C, H, W) -> (B, channels, H, W)."""
    return reduce(x, "b (c g) h w -> b c h w", "mean", c=channels)
