"""The encoder and the decoder of DC-AE: a stem, stages, and a last layer.

Source: Chen et al. 2024, Deep Compression Autoencoder for Efficient High-Resolution Diffusion Models,
arXiv 2410.10733, section 3.1.

Letters: B batch, C channels, H W rows and columns, f the spatial factor.
"""

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from tokenizer.backbones.dcae.blocks import (
    ACTIVATIONS,
    Activation,
    Block,
    EfficientViTBlock,
    Norm,
    ResBlock,
)
from tokenizer.backbones.dcae.resampling import Downsample, Downsampling, Upsample, Upsampling, mean_groups
from tokenizer.layers.norms import RMSNorm2d


class Encoder(nn.Module):
    """Pixels to features, from ``project_in`` through the stages to ``project_out``.

    A first depth of 0 makes ``project_in`` the first downsampling, to the second width.
    """

    def __init__(
        self,
        out_channels: int,
        widths: Sequence[int],
        depths: Sequence[int],
        blocks: Sequence[Block],
        head_dim: int,
        kernels: Sequence[int],
        downsampling: Downsampling,
        out_shortcut: bool,
    ) -> None:
        super().__init__()
        self.project_in: nn.Module
        if depths[0] > 0:
            self.project_in = nn.Conv2d(3, widths[0], 3, padding=1)
        else:
            self.project_in = Downsample(3, widths[1], downsampling, shortcut=False)
        self.stages = nn.ModuleList()
        for index, (width, depth, block) in enumerate(zip(widths, depths, blocks, strict=True)):
            stage = [_block(block, width, head_dim, kernels, "rms", "silu") for _ in range(depth)]
            if depth > 0 and index + 1 < len(widths):
                stage.append(Downsample(width, widths[index + 1], downsampling))
            self.stages.append(nn.Sequential(*stage))
        self.project_out = nn.Conv2d(widths[-1], out_channels, 3, padding=1)
        self.out_shortcut = out_shortcut

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 3, H, W) in [-1, 1] -> h (B, C_h, H/f, W/f)."""
        x = self.project_in(x)
        for stage in self.stages:
            x = stage(x)
        h: Tensor = self.project_out(x)
        return h + mean_groups(x, h.shape[1]) if self.out_shortcut else h

    def blocks(self) -> Iterator[nn.Module]:
        """The blocks of all stages, resampling included."""
        for stage in self.stages:
            yield from stage.children()


class Head(nn.Module):
    """Features to pixels: norm, activation, and a convolution that also makes the last doubling if asked."""

    def __init__(self, width: int, activation: Activation, upsampling: Upsampling | None) -> None:
        super().__init__()
        self.norm = RMSNorm2d(width)
        self.activation = ACTIVATIONS[activation]()
        if upsampling is None:
            self.conv: nn.Module = nn.Conv2d(width, 3, 3, padding=1)
        else:
            self.conv = Upsample(width, 3, upsampling, shortcut=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, 3, H, W) or twice the sides."""
        h: Tensor = self.conv(self.activation(self.norm(x)))
        return h


class Decoder(nn.Module):
    """Latents to pixels, ``stages`` numbered as in the encoder and walked backwards; ``project_out`` is the head.

    A first depth of 0 makes the head the last upsampling, from the second width.
    """

    def __init__(
        self,
        latent_channels: int,
        widths: Sequence[int],
        depths: Sequence[int],
        blocks: Sequence[Block],
        norms: Sequence[Norm],
        activations: Sequence[Activation],
        head_dim: int,
        kernels: Sequence[int],
        upsampling: Upsampling,
        in_shortcut: bool,
        out_activation: Activation,
    ) -> None:
        super().__init__()
        self.project_in = nn.Conv2d(latent_channels, widths[-1], 3, padding=1)
        self.in_repeats = widths[-1] // latent_channels if in_shortcut else 0
        self.stages = nn.ModuleList()
        for index, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            stage: list[nn.Module] = []
            if depth > 0 and index + 1 < len(widths):
                stage.append(Upsample(widths[index + 1], width, upsampling))
            for _ in range(depth):
                block = _block(blocks[index], width, head_dim, kernels, norms[index], activations[index])
                stage.append(block)
            self.stages.append(nn.Sequential(*stage))
        if depths[0] > 0:
            self.project_out = Head(widths[0], out_activation, None)
        else:
            self.project_out = Head(widths[1], out_activation, upsampling)

    def forward(self, z: Tensor) -> Tensor:
        """z (B, C, H', W') -> x_hat (B, 3, f H', f W')."""
        x: Tensor = self.project_in(z)
        if self.in_repeats:
            x = x + z.repeat_interleave(self.in_repeats, dim=1)
        for stage in reversed(self.stages):
            x = stage(x)
        x_hat: Tensor = self.project_out(x)
        return x_hat

    def blocks(self) -> Iterator[nn.Module]:
        """The blocks of all stages, resampling included."""
        for stage in reversed(self.stages):
            yield from stage.children()


def _block(
    kind: Block, channels: int, head_dim: int, kernels: Sequence[int], norm: Norm, activation: Activation
) -> nn.Module:
    if kind == "res":
        return ResBlock(channels, norm, activation)
    return EfficientViTBlock(channels, head_dim, kernels)
