"""Requests of a measurement: photograph-like pictures, latents and JSON, made here from a seed.

Pictures are smooth with some grain, so that codecs work as hard as on photographs: noise alone would make PNG and JPEG
slower than they are, flat colours faster.

Letters: H W pixels.
"""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from eval.serving.load import Asked
from eval.serving.processes import write_body
from tokenizer.spec import LatentSpec

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from eval.serving.work import WorkConfig

COUNT = 16
GRAIN = 6.0


def picture(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    """uint8 (H, W, 3): a coarse field of colours enlarged smoothly, with grain."""
    drawn = np.random.default_rng(seed)
    coarse = drawn.integers(0, 256, (max(2, height // 16), max(2, width // 16), 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    grain = drawn.normal(scale=GRAIN, size=(height, width, 1))
    return np.clip(np.asarray(smooth, np.float32) + grain, 0, 255).astype(np.uint8)


def npy(array: NDArray[Any]) -> bytes:
    """An npy file: raw values behind 128 bytes."""
    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue()


def picture_file(array: NDArray[np.uint8], kind: str, **options: Any) -> bytes:
    """The picture as a file of Pillow's ``kind``."""
    out = io.BytesIO()
    Image.fromarray(array).save(out, kind, **options)
    return out.getvalue()


def latent_file(config: dict[str, Any], spec_id: str, side: int, seed: int) -> bytes:
    """A safetensors latent of a picture of ``side`` x ``side``, standard normal.

    Args:
        config: ``config.json`` of the tokenizer.
        spec_id: of its latent space.
        side: in pixels.
        seed: of the values.
    """
    from safetensors.numpy import save

    spec = LatentSpec.parse(config["spec"])
    shape = spec.shape((side, side))[spec.z.name]
    z = np.random.default_rng(seed).standard_normal((1, *shape), np.float32)
    return save({"z": z}, {"size": f"{side},{side}", "spec_id": spec_id})


def requests(
    work: WorkConfig, folder: Path, *, side: int, spec_id: str, config: dict[str, Any], raw: bool, seed: int
) -> list[Asked]:
    """``COUNT`` requests of an operation, without their target, their bodies in files.

    Args:
        work: the operation.
        folder: for the files.
        side: of the pictures, in pixels.
        spec_id: of the tokenizer.
        config: ``config.json`` of the tokenizer.
        raw: whether pictures go in as raw uint8, else as JPEG.
        seed: of the first; the others follow.
    """
    bodies = []
    for index in range(COUNT):
        if work.operation == "decode":
            body = latent_file(config, spec_id, side, seed + index)
        elif work.operation == "generate":
            asked = {
                "label": 0,
                "seed": seed + index,
                "num_steps": work.num_steps,
                "guidance": work.guidance,
                "output": work.output,
            }
            body = json.dumps(asked).encode()
        else:
            pixels = picture(side, side, seed + index)
            body = npy(pixels) if raw else picture_file(pixels, "JPEG", quality=90)
        bodies.append(
            write_body(folder, f"{work.operation}-{side}-{'raw' if raw else 'file'}-{index}.bin", body)
        )
    headers = {"content-type": "application/octet-stream"}
    return [Asked("", body, headers) for body in bodies]
