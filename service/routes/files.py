"""Files of jobs as answers, whole or a range of them, also while they grow."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fastapi.responses import StreamingResponse

from service.jobs.errors import BadRange

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from fastapi import Request, Response

CHUNK_BYTES = 256 * 1024
RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.IGNORECASE)
HEADERS = {"x-content-type-options": "nosniff", "cache-control": "no-store", "accept-ranges": "bytes"}


def file_part(
    request: Request, path: Path, media_type: str, headers: Mapping[str, str] | None = None
) -> Response:
    """The file as it is now, or what the header ``Range`` asks of it.

    Args:
        request: whose header is read.
        path: a file that is there.
        media_type: its content type.
        headers: further ones.

    Raises:
        BadRange: the range begins behind the end.
    """
    size = path.stat().st_size
    found = parse_range(request.headers.get("range"), size)
    start, stop = found or (0, size)
    own = HEADERS | dict(headers or {}) | {"content-length": str(stop - start)}
    if found is not None:
        own["content-range"] = f"bytes {start}-{stop - 1}/{size}"
    return StreamingResponse(
        _read(path, start, stop), 200 if found is None else 206, own, media_type=media_type
    )


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """(start, stop) of the bytes asked for; None for the whole file, also if the header says nothing that is known.

    Raises:
        BadRange: the range begins behind the end.

    Source: RFC 9110, section 14.
    """
    match = RANGE.fullmatch(header.strip()) if header else None
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        start, stop = max(0, size - int(match[2])), size
    else:
        start, stop = int(match[1]), min(size, int(match[2]) + 1) if match[2] else size
        if match[2] and int(match[2]) < int(match[1]):
            return None
    if start >= size:
        raise BadRange(
            f"the file has {size} bytes, nothing from {match[1] or 'its end'} on: ask again when it has grown",
            param="range",
            details={"size": size},
        )
    return start, stop


def _read(path: Path, start: int, stop: int) -> Iterator[bytes]:
    """Exactly these bytes: what is appended meanwhile belongs to the next answer."""
    with path.open("rb") as stream:
        stream.seek(start)
        left = stop - start
        while left > 0 and (chunk := stream.read(min(CHUNK_BYTES, left))):
            left -= len(chunk)
            yield chunk
