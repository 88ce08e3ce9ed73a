"""A U-Net of residual blocks that a time modulates, for pictures of any size that its levels divide.

Source: Dhariwal and Nichol 2021, Diffusion Models Beat GANs on Image Synthesis (ADM), arXiv 2105.05233, section 3
(residual blocks with adaptive group norm, skips joined by channels); Ho et al. 2020, arXiv 2006.11239 (the U-Net).
Here sides are changed by convolutions outside the blocks, and attention has one head.

Letters: B batch, C channels, H W rows and columns, E channels of the time's embedding.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.layers.modulation import TimeEmbedding
from tokenizer.layers.resnet import Attention, Downsample, GroupNorm, Unchanged, Upsample


class TimedResBlock(nn.Module):
    """norm, silu, conv, then norm scaled and shifted by the time, silu, conv, plus identity (1x1 where widths differ).

    The last convolution starts at 0, so that a fresh block is the identity.
    """

    def __init__(self, in_channels: int, out_channels: int, time_channels: int, groups: int) -> None:
        super().__init__()
        self.norm1 = GroupNorm(in_channels, _groups(in_channels, groups))
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.modulation = nn.Linear(time_channels, 2 * out_channels)
        self.norm2 = GroupNorm(out_channels, _groups(out_channels, groups))
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1)
        for parameter in self.conv2.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """x (B, C, H, W), c (B, E) -> (B, C', H, W)."""
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.modulation(c)[:, :, None, None].chunk(2, dim=1)
        h = self.conv2(F.silu(self.norm2(h) * (1 + scale) + shift))
        out: Tensor = self.shortcut(x) + h
        return out


class UNet(nn.Module):
    """x (B, C, H, W) and a time -> (B, 3, H, W); fresh, it gives 0.

    Args:
        in_channels: C.
        widths: channels of each resolution, from the pixels down.
        blocks_per_level: residual blocks of each resolution on the way down; one more on the way up.
        groups: of the norms; a width that they do not divide takes the most that do.
        attention: in the middle.
    """

    def __init__(
        self, in_channels: int, widths: Sequence[int], blocks_per_level: int, groups: int, attention: bool
    ) -> None:
        super().__init__()
        time_channels = 4 * widths[0]
        self.embed_time = TimeEmbedding(time_channels)
        self.conv_in = nn.Conv2d(in_channels, widths[0], 3, padding=1)

        def block(before: int, after: int) -> TimedResBlock:
            return TimedResBlock(before, after, time_channels, groups)

        skips, width = [widths[0]], widths[0]
        self.down, self.downsamples = nn.ModuleList(), nn.ModuleList()
        for level, out in enumerate(widths):
            blocks = nn.ModuleList()
            for _ in range(blocks_per_level):
                blocks.append(block(width, out))
                width = out
                skips.append(width)
            self.down.append(blocks)
            if level + 1 < len(widths):
                self.downsamples.append(Downsample(width))
                skips.append(width)
        self.mid = nn.ModuleList([block(width, width), block(width, width)])
        norm = partial(GroupNorm, groups=_groups(width, groups))
        self.mid_attention = Attention(width, norm) if attention else Unchanged()
        self.up, self.upsamples = nn.ModuleList(), nn.ModuleList()
        for level, out in reversed(list(enumerate(widths))):
            blocks = nn.ModuleList()
            for _ in range(blocks_per_level + 1):
                blocks.append(block(width + skips.pop(), out))
                width = out
            self.up.append(blocks)
            if level:
                self.upsamples.append(Upsample(width))
        self.norm_out = GroupNorm(width, _groups(width, groups))
        self.conv_out = nn.Conv2d(width, 3, 3, padding=1)
        for parameter in self.conv_out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x (B, C, H, W), sides multiples of 2 to the number of levels less one, t (B,) in [0, 1] -> (B, 3, H, W)."""
        c = self.embed_time(t)
        h = self.conv_in(x.to(self.conv_in.weight.dtype))
        skips = [h]
        for level, blocks in enumerate(self.down):
            for block in blocks:  # type: ignore[attr-defined]  # a ModuleList, which nn.Module does not say
                h = block(h, c)
                skips.append(h)
            if level < len(self.downsamples):
                h = self.downsamples[level](h)
                skips.append(h)
        h = self.mid[1](self.mid_attention(self.mid[0](h, c)), c)
        for level, blocks in enumerate(self.up):
            for block in blocks:  # type: ignore[attr-defined]  # as above
                h = block(torch.cat([h, skips.pop()], dim=1), c)
            if level < len(self.upsamples):
                h = self.upsamples[level](h)
        out: Tensor = self.conv_out(F.silu(self.norm_out(h)))
        return out

    def blocks(self) -> Iterator[nn.Module]:
        """The modules whose activations may be recomputed instead of kept."""
        for level in (*self.down, self.mid, *self.up):
            yield from level.children()
        yield self.mid_attention


def _groups(channels: int, most: int) -> int:
    """The largest number of groups up to ``most`` that divides the channels."""
    return next(groups for groups in range(min(most, channels), 0, -1) if channels % groups == 0)
