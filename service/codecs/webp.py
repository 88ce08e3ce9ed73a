"""The size of a WebP picture without opening it: Pillow allocates the whole canvas when it opens one."""

from __future__ import annotations

import struct


def webp_size(body: bytes) -> tuple[int, int]:
    """(width, height) of the canvas, from the first chunk.

    Raises:
        ValueError: no size is there.

    Source: RFC 9649 (WebP image format), sections 2.5 to 2.7; RFC 6386, section 9.1 (the VP8 frame header).
    """
    kind = body[12:16]
    try:
        if kind == b"VP8X":
            return (
                1 + int.from_bytes(body[24:27], "little"),
                1 + struct.unpack_from("<I", body[27:30] + b"\0")[0],
            )
        if kind == b"VP8L":
            bits: int = struct.unpack_from("<I", body, 21)[0]
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        if kind == b"VP8 ":
            width, height = struct.unpack_from("<HH", body, 26)
            return width & 0x3FFF, height & 0x3FFF
    except struct.error as error:
        raise ValueError(str(error)) from None
    raise ValueError("unknown WebP chunk")
