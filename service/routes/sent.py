"""What a request sent, measured before anything is decoded: pictures of any form, and what is told beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service import codecs, wire
from service.errors import TooManyPixels, WrongShape
from service.registry import check_padded
from service.routes.answers import BINARY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastapi import Request
    from pydantic import BaseModel

    from service.engine.messages import Pictures
    from service.registry import ServedTokenizer
    from service.settings import Settings

TEXT = {"type": "string"}


@dataclass(frozen=True, slots=True)
class SentPictures:
    """Pictures of one size, as jobs carry them.

    Attributes:
        body: files, or pixels.
        count: how many.
        size: (H, W) of each.
        cost: pixels of all of them after padding.
    """

    body: Pictures
    count: int
    size: tuple[int, int]
    cost: int


def measure(
    files: Sequence[bytes], headers: dict[str, str], model: ServedTokenizer, settings: Settings
) -> SentPictures:
    """Read headers only, in a thread.

    Args:
        files: picture files; or one body of uint8 pixels, npy or raw.
        headers: as ``told`` gives them.
        model: that pads them.
        settings: limits.

    Raises:
        WrongShape: pictures of several sizes.
        TooManyPixels: one of them, or all together.
        EmptyBody, NotAnImage, TruncatedImage, NotATensor, WrongDtype.
    """
    pixels = codecs.read_pixels(files[0], headers, settings.max_pixels) if len(files) == 1 else None
    if pixels is not None:
        body: Pictures = pixels
        count, size = pixels.shape[0], (pixels.shape[1], pixels.shape[2])
        wire.refuse_count(count, settings.max_images, "pictures")
    else:
        sizes = [codecs.inspect(file, settings.max_pixels).size for file in files]
        if len(set(sizes)) != 1:
            shown = " and ".join(wire.write_size(size) for size in sorted(set(sizes))[:3])
            raise WrongShape(
                f"the pictures of one request must be of one size, these are {shown}: send them one by one, the "
                "server batches what can share a pass",
                param="file",
            )
        body = files[0] if len(files) == 1 else tuple(files)
        count, size = len(files), sizes[0]
    cost = count * check_padded(model.spec, size, settings.max_pixels)
    if cost > settings.max_pixels:
        raise TooManyPixels(
            f"{count} pictures of {size[1]}x{size[0]} are {cost} pixels after padding and this server takes up to "
            f"{settings.max_pixels} in one request: send fewer at once",
            details={"max_pixels": settings.max_pixels},
        )
    return SentPictures(body, count, size, cost)


def told(request: Request, query: BaseModel, *names: str) -> dict[str, str]:
    """The headers of a request, with these query parameters as the headers ``x-tessera-NAME`` that they stand for."""
    asked = {f"x-tessera-{name}": getattr(query, name) for name in names}
    return dict(request.headers) | {name: value for name, value in asked.items() if value is not None}


def described_body(field: str, several: bool) -> dict[str, Any]:  # OpenAPI is JSON
    """A file as the body, as the field ``file`` of a form, or as base64 in JSON, for the OpenAPI document."""
    file = {"type": "string", "format": "binary"}
    inline: dict[str, Any] = {field: {"type": "string", "description": "base64 or a data URL"}}
    if several:
        inline[f"{field}s"] = {"type": "array", "items": TEXT, "minItems": 1}
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/octet-stream": BINARY,
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["file"],
                        "properties": {"file": {"type": "array", "items": file} if several else file},
                    }
                },
                "application/json": {
                    "schema": {
                        "type": "object",
                        "properties": inline,
                        "additionalProperties": False,
                        "minProperties": 1,
                        "maxProperties": 1,
                    }
                },
            },
        }
    }


def described_headers(**texts: str) -> list[dict[str, Any]]:  # as above
    """Optional request headers ``x-tessera-NAME``, for the OpenAPI document."""
    return [
        {"name": f"x-tessera-{name}", "in": "header", "required": False, "schema": TEXT, "description": text}
        for name, text in texts.items()
    ]
