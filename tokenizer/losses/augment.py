"""Augmentations that a discriminator looks through, with gradients for the autoencoder: few pictures last longer.

Source: Zhao et al. 2020, Differentiable Augmentation for Data-Efficient GAN Training, arXiv 2006.10738 (the
transformations and their ranges; both players see the same ones).

Letters: B batch, C channels, H W rows and columns.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from tokenizer.core import seeding
from tokenizer.layers.frames import fold, unfold

Policy = Literal["color", "translation", "cutout"]

_DRAWS = (
    7  # brightness, saturation, contrast, shift of rows and columns, centre of the hole in rows and columns
)


class DiffAugment:
    """Changes pictures by draws that belong to the samples: a picture and its reconstruction change alike.

    Args:
        policies: "color": brightness within +-0.5, saturation within 0 to 2, contrast within 0.5 to 1.5;
            "translation": by up to 1/8 of the side, filled with 0; "cutout": a square hole of half the side.
        strength: 0 to 1, of all ranges; at 0 nothing changes.
    """

    def __init__(self, policies: Sequence[Policy], strength: float = 1.0) -> None:
        self.policies = tuple(policies)
        self.strength = strength

    def draw(self, keys: Tensor) -> Tensor:
        """Uniform draws (B, 7) for samples with these keys (B,), the same whenever they are asked for."""
        rows = [torch.rand(_DRAWS, generator=seeding.generator(int(key), "augment")) for key in keys]
        return torch.stack(rows)

    def __call__(self, x: Tensor, draws: Tensor) -> Tensor:
        """x (B, C, *S) about [-1, 1] and draws (B, 7) -> the same shape, float32; all frames of a clip change alike."""
        if x.ndim == 5:
            return unfold(self(fold(x), draws.repeat_interleave(x.shape[2], dim=0)), x.shape[0])
        x, draws = x.float(), draws.to(x.device)
        if "color" in self.policies:
            x = _color(x, draws[:, :3], self.strength)
        if "translation" in self.policies:
            x = _translation(x, draws[:, 3:5], self.strength)
        if "cutout" in self.policies:
            x = x * _outside_hole(x, draws[:, 5:7], self.strength)
        return x


def _color(x: Tensor, draws: Tensor, strength: float) -> Tensor:
    brightness, saturation, contrast = (strength * (2 * u - 1).view(-1, 1, 1, 1) for u in draws.unbind(1))
    x = x + 0.5 * brightness
    grey = x.mean(dim=1, keepdim=True)
    x = grey + (x - grey) * (1 + saturation)
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (x - mean) * (1 + 0.5 * contrast)


def _translation(x: Tensor, draws: Tensor, strength: float) -> Tensor:
    for dim, u in zip((2, 3), draws.unbind(1), strict=True):
        side = x.shape[dim]
        reach = int(strength * side / 8 + 0.5)
        shift = (u * (2 * reach + 1)).long() - reach  # (B,), -reach to reach
        source = torch.arange(side, device=x.device) - shift[:, None]  # (B, side)
        inside = (source >= 0) & (source < side)
        shape = (x.shape[0], 1, side, 1) if dim == 2 else (x.shape[0], 1, 1, side)
        index = source.clamp(0, side - 1).view(shape).expand_as(x)
        x = x.gather(dim, index) * inside.view(shape)
    return x


def _outside_hole(x: Tensor, draws: Tensor, strength: float) -> Tensor:
    """1 where the picture stays, (B, 1, H, W); the hole's centre lies anywhere in it."""
    hit = []
    for dim, u in zip((2, 3), draws.unbind(1), strict=True):
        side = x.shape[dim]
        size = int(strength * side / 2 + 0.5)
        start = (u * (side + 1 - size % 2)).long() - size // 2  # (B,)
        places = torch.arange(side, device=x.device)
        hit.append((places >= start[:, None]) & (places < start[:, None] + size))
    hole = hit[0][:, :, None] & hit[1][:, None, :]
    return (~hole)[:, None].to(x)
