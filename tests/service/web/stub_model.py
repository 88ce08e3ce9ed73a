"""What the stub server computes: a tokenizer whose latent is the mean of every 16x16 block, and files of pictures."""

from __future__ import annotations

import base64
import email.parser
import email.policy
import io
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

FACTOR = 16
SIDE = 64
SPEC_ID = "0123456789abcdef"


class RefusedError(Exception):
    """An error answer: status, code and sentence."""


def several(files: list[bytes]) -> dict[str, Any]:
    """Pictures as JSON answers carry them."""
    data = [{"index": index, "b64": base64.b64encode(file).decode()} for index, file in enumerate(files)]
    return {"size": [SIDE, SIDE], "spec_id": SPEC_ID, "media_type": "image/png", "data": data}


def form_fields(content_type: str, body: bytes) -> dict[str, Any]:
    """The fields of a form, files as bytes and the rest as text."""
    parser = email.parser.BytesParser(policy=email.policy.HTTP)
    message = parser.parsebytes(b"content-type: " + content_type.encode() + b"\r\n\r\n" + body)
    fields: dict[str, Any] = {}
    for part in message.iter_parts():  # type: ignore[attr-defined]  # what the policy's messages have
        content = part.get_payload(decode=True)
        fields[part.get_param("name", header="content-disposition")] = (
            content if part.get_filename() else content.decode()
        )
    return fields


def open_blocks(body: bytes) -> tuple[np.ndarray, np.ndarray]:
    """A picture (H, W, 3) uint8 and its latent (3, h, w): the mean of every block, in [-1, 1]."""
    try:
        x = np.asarray(Image.open(io.BytesIO(body)).convert("RGB"))
    except UnidentifiedImageError:
        raise RefusedError(422, "not_an_image", "this is not a picture: send PNG, JPEG or WebP") from None
    height, width = (-side % FACTOR for side in x.shape[:2])
    padded = np.pad(x, ((0, height), (0, width), (0, 0)), mode="edge").astype(np.float32) / 127.5 - 1
    blocks = padded.reshape(padded.shape[0] // FACTOR, FACTOR, padded.shape[1] // FACTOR, FACTOR, 3)
    return x, np.ascontiguousarray(blocks.mean((1, 3)).transpose(2, 0, 1))  # (3, h, w)


def rounded(z: np.ndarray) -> np.ndarray:
    """The latent with 8 levels a channel: 512 codes of 9 bits."""
    return (np.rint((z + 1) * 3.5) / 3.5 - 1).astype(np.float32)


def values_of(indices: np.ndarray) -> np.ndarray:
    """Indices (h, w) -> the rounded latent (3, h, w)."""
    digits = np.stack([indices // 64, indices // 8 % 8, indices % 8])
    return (digits / 3.5 - 1).astype(np.float32)


def code_colours(z: np.ndarray) -> np.ndarray:
    """A picture (h, w, 3) of a rounded latent in which every code has a colour."""
    return np.rint((z + 1) * 3.5 * 36).astype(np.uint8).transpose(1, 2, 0)


def pixels_of(z: np.ndarray, height: int, width: int) -> np.ndarray:
    """The latent (3, h, w) as pixels (H, W, 3) uint8."""
    x_hat = np.repeat(np.repeat(z.transpose(1, 2, 0), FACTOR, 0), FACTOR, 1)[:height, :width]
    return np.rint((x_hat + 1) * 127.5).astype(np.uint8)


def latent_headers(x: np.ndarray, z: np.ndarray) -> dict[str, str]:
    """The headers that say how large the picture and its latent are."""
    return {
        "content-type": "application/octet-stream",
        "x-tessera-size": f"{x.shape[0]},{x.shape[1]}",
        "x-tessera-pixel-bytes": str(x.size),
        "x-tessera-latent-bytes": str(z.size * 2),
        "server-timing": "queue;dur=0.2, before;dur=1.0, core;dur=3.6, after;dur=1.0",
    }


def png(pixels: np.ndarray) -> bytes:
    """PNG bytes of (H, W, 3) uint8."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def jpeg(side: int) -> bytes:
    """JPEG bytes of a small grey picture."""
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (120, 130, 140)).save(buffer, "jpeg")
    return buffer.getvalue()
