"""Pictures to tensors and back; crops.

Pixels as bytes are (H, W, 3) uint8, of clips (T, H, W, 3); as tensors (B, 3, *S) float in [-1, 1].
"""

import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor

BOX, BICUBIC = Image.Resampling.BOX, Image.Resampling.BICUBIC


def to_pixels(data: Tensor) -> Tensor:
    """(B, *S, 3) uint8, S = (H, W) or (T, H, W) -> (B, 3, *S) float32 in [-1, 1]."""
    return data.movedim(-1, 1).float() / 127.5 - 1.0


def to_uint8(x: Tensor) -> Tensor:
    """(B, 3, *S) about [-1, 1] -> (B, 3, *S) uint8, clamped and rounded (never truncated)."""
    return ((x.float().clamp(-1.0, 1.0) + 1.0) * 127.5).round().to(torch.uint8)


def resize_short(image: Image.Image, side: int) -> Image.Image:
    """Bring the short side to ``side``: halve by box filter while it is at least twice that, then bicubic.

    Source: the preprocessing of ADM, Dhariwal and Nichol 2021, arXiv 2105.05233, as the field evaluates with it.
    """
    while min(image.size) >= 2 * side:
        image = image.resize((image.width // 2, image.height // 2), BOX)
    scale = side / min(image.size)
    return image.resize((round(image.width * scale), round(image.height * scale)), BICUBIC)


def adm_crop(image: Image.Image, resolution: int) -> Image.Image:
    """Centre square of ``resolution`` after ``resize_short``: the crop that evaluations share."""
    image = resize_short(image, resolution)
    left, top = (image.width - resolution) // 2, (image.height - resolution) // 2
    return image.crop((left, top, left + resolution, top + resolution))


def random_crop(
    image: Image.Image, resolution: int, *, generator: torch.Generator, max_scale: float, flip: bool
) -> Image.Image:
    """A square of ``resolution`` at a random place of the picture, whose short side is first brought to between
    ``resolution`` and ``max_scale`` times that; mirrored half of the time if ``flip``.
    """
    scale, across, down, mirror = torch.rand(4, generator=generator).tolist()
    image = resize_short(image, math.floor(resolution * (1.0 + (max_scale - 1.0) * scale)))
    left = math.floor(across * (image.width - resolution + 1))
    top = math.floor(down * (image.height - resolution + 1))
    image = image.crop((left, top, left + resolution, top + resolution))
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip and mirror < 0.5 else image


def as_bytes(image: Image.Image) -> Tensor:
    """An RGB picture -> (H, W, 3) uint8."""
    return torch.from_numpy(np.array(image, dtype=np.uint8))
