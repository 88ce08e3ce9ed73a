"""The crops by which published numbers were made: with the same codec the filter alone moves PSNR by a decibel.

Letters: R resolution.
"""

from typing import assert_never

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from eval.protocols import Crop
from tokenizer.data.transforms import adm_crop, as_bytes

_PIL = {
    "pil_bilinear": Image.Resampling.BILINEAR,
    "pil_bicubic": Image.Resampling.BICUBIC,
    "pil_lanczos": Image.Resampling.LANCZOS,
}


def cropped(image: Image.Image, rule: Crop, resolution: int) -> Tensor:
    """An RGB picture -> its centre square (3, R, R) after its short side was brought to R.

    uint8, but for ``tensor_bilinear`` float32 in [-1, 1]: that rule never rounds.

    ``adm``: halve by box filter, then bicubic, as ADM does. ``pil_*``: torchvision's Resize and CenterCrop of a PIL
    picture. ``tensor_bilinear``: the same of a float tensor, antialiased. ``cv2_bilinear``: albumentations'
    SmallestMaxSize and CenterCrop, without antialiasing (OpenCV's fixed-point weights are taken in float32).
    ``cover_lanczos``: both sides rounded after the picture was made to cover the square, as VTBench crops.
    """
    match rule:
        case "adm":
            return _channels_first(adm_crop(image, resolution))
        case "pil_bilinear" | "pil_bicubic" | "pil_lanczos":
            width, height = _torchvision_size(image, resolution)
            if (width, height) != image.size:
                image = image.resize((width, height), _PIL[rule])
            left, top = round((width - resolution) / 2), round((height - resolution) / 2)
            return _channels_first(image.crop((left, top, left + resolution, top + resolution)))
        case "tensor_bilinear":
            width, height = _torchvision_size(image, resolution)
            x = _channels_first(image).float().unsqueeze(0) / 255.0
            if (width, height) != image.size:
                x = F.interpolate(x, size=(height, width), mode="bilinear", antialias=True)
            left, top = round((width - resolution) / 2), round((height - resolution) / 2)
            return x[0, :, top : top + resolution, left : left + resolution].contiguous() * 2.0 - 1.0
        case "cv2_bilinear":
            return _cv2(image, resolution)
        case "cover_lanczos":
            scale = max(resolution / image.width, resolution / image.height)
            image = image.resize(
                (round(image.width * scale), round(image.height * scale)), _PIL["pil_lanczos"]
            )
            left, top = (image.width - resolution) // 2, (image.height - resolution) // 2
            return _channels_first(image.crop((left, top, left + resolution, top + resolution)))
        case _:
            assert_never(rule)


def _cv2(image: Image.Image, resolution: int) -> Tensor:
    scale = resolution / min(image.size)
    width, height = round(image.width * scale), round(image.height * scale)
    x = _channels_first(image).float().unsqueeze(0)
    if (width, height) != image.size:
        x = F.interpolate(x, size=(height, width), mode="bilinear", antialias=False)
    left, top = (width - resolution) // 2, (height - resolution) // 2
    kept = x[0, :, top : top + resolution, left : left + resolution]
    return kept.round().clamp(0.0, 255.0).to(torch.uint8).contiguous()


def _torchvision_size(image: Image.Image, resolution: int) -> tuple[int, int]:
    """Width and height after Resize: the long side is truncated, not rounded."""
    short, long = min(image.size), max(image.size)
    other = int(resolution * long / short)
    return (resolution, other) if image.width <= image.height else (other, resolution)


def _channels_first(image: Image.Image) -> Tensor:
    if image.mode != "RGB":
        image = image.convert("RGB")
    return as_bytes(image).permute(2, 0, 1).contiguous()
