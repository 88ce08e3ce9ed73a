"""Between the float pixels of tokenizers and the pictures that metrics compare, in the form that they compare."""

from typing import assert_never

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from eval.protocols import Domain, Quantization
from tokenizer.data import transforms


def to_uint8(x: Tensor) -> Tensor:
    """x (B, 3, H, W), about [-1, 1] -> uint8: clamped, then rounded to the nearest grey level.

    Truncating instead would shift a quarter of the grey levels down by one even for a perfect identity.

    Raises:
        ValueError: if x holds NaN or infinity, which no picture can show.
    """
    return transforms.to_uint8(_finite(x))


def from_uint8(pictures: Tensor) -> Tensor:
    """uint8 (B, 3, H, W) -> float32 in [-1, 1]; ``to_uint8`` undoes it exactly."""
    return pictures.float() / 127.5 - 1.0


def as_seen(x: Tensor, quantization: Quantization, domain: Domain) -> Tensor:
    """Pictures in the form that a metric of a protocol sees.

    Args:
        x: (B, 3, H, W), uint8 or float about [-1, 1].
        quantization: how the protocol makes uint8 of pixels; what is uint8 already goes the same way, because
            truncation darkens originals too.
        domain: the metric's.

    Raises:
        ValueError: if x holds NaN or infinity.
    """
    if domain == "uint8":
        return _quantized(x, quantization)
    pixels = from_uint8(x) if x.dtype == torch.uint8 else _finite(x).float()
    return pixels.clamp(-1.0, 1.0) if domain == "clamped" else pixels


def _quantized(x: Tensor, quantization: Quantization) -> Tensor:
    match quantization:
        case "round_uint8":
            return x if x.dtype == torch.uint8 else to_uint8(x)
        case "truncate_uint8":
            pixels = from_uint8(x) if x.dtype == torch.uint8 else _finite(x).float().clamp(-1.0, 1.0)
            return ((pixels + 1.0) / 2.0 * 255.0).to(torch.uint8)
        case "truncate_unit_uint8":
            # originals are read to [0, 1] and never leave it, where v / 255 * 255 truncates to v
            if x.dtype == torch.uint8:
                return x
            return (((_finite(x).float() + 1.0) / 2.0).clamp(0.0, 1.0) * 255.0).to(torch.uint8)
        case "truncate_uint8_then_256":
            # originals are scaled in float64 there, so that other grey levels move than by float32
            pixels = (
                (x.double() / 255.0 * 2.0 - 1.0).float() if x.dtype == torch.uint8 else _finite(x).float()
            )
            return resized((((pixels.clamp(-1.0, 1.0) + 1.0) / 2.0) * 255.0).to(torch.uint8).cpu(), 256)
        case "round_uint8_then_256":
            return resized(_quantized(x, "round_uint8").cpu(), 256)
        case _:
            assert_never(quantization)


def resized(pictures: Tensor, side: int, resample: Image.Resampling = Image.Resampling.BILINEAR) -> Tensor:
    """uint8 pictures (B, 3, H, W) on the CPU -> (B, 3, side, side) by PIL, which smooths and rounds."""
    if pictures.shape[-2:] == (side, side):
        return pictures
    made = [
        transforms.as_bytes(Image.fromarray(picture.permute(1, 2, 0).numpy()).resize((side, side), resample))
        for picture in pictures
    ]
    return torch.stack(made).permute(0, 3, 1, 2).contiguous()


def clean_resize(pictures: Tensor, side: int) -> Tensor:
    """uint8 pictures (B, 3, H, W) on the CPU -> float32 (B, 3, side, side), 0 to 255, each channel alone by PIL.

    Bicubic with antialiasing, clipped and not rounded.
    Source: Parmar et al. 2022, On Aliased Resizing and Surprising Subtleties in GAN Evaluation, arXiv 2104.11222.
    """
    channels = pictures.flatten(0, 1).float().numpy()
    size = (side, side)
    made = [
        np.asarray(Image.fromarray(channel).resize(size, Image.Resampling.BICUBIC)) for channel in channels
    ]
    resized_channels = torch.from_numpy(np.stack(made)).clamp(0.0, 255.0)
    return resized_channels.view(*pictures.shape[:2], side, side)


def _finite(x: Tensor) -> Tensor:
    if not bool(torch.isfinite(x).all()):
        raise ValueError("the pictures hold NaN or infinity: the model is broken, or too large for its dtype")
    return x
