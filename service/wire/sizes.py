"""Sizes and shapes as text: ``"480,640"`` is a height and a width in pixels, ``"17,480,640"`` a clip of 17 frames."""

from __future__ import annotations

from service.errors import WrongShape

MAX_DIMENSIONS = 6
MAX_TEXT = 32


def read_size(text: str) -> tuple[int, ...]:
    """``"480,640"`` -> (480, 640); ``"17,480,640"`` -> (17, 480, 640).

    Raises:
        WrongShape: anything else.
    """
    sides = _numbers(text)
    if sides is None or len(sides) not in (2, 3) or 0 in sides:
        raise WrongShape(
            f"size {text[:MAX_TEXT]!r} must be height,width in pixels, for example 480,640, or of a clip "
            "frames,height,width: send what /v1/encode told, unchanged",
            param="size",
        )
    return sides


def write_size(size: tuple[int, ...]) -> str:
    """(480, 640) -> ``"480,640"``."""
    return ",".join(str(side) for side in size)


def read_shape(text: str) -> tuple[int, ...]:
    """``"1,8,16,12"`` -> (1, 8, 16, 12).

    Raises:
        WrongShape: anything else.
    """
    sides = _numbers(text)
    if sides is None:
        raise WrongShape(
            f"shape {text[: 3 * MAX_TEXT]!r} must be up to {MAX_DIMENSIONS} whole numbers, outermost first, for "
            "example 1,32,16,16",
            param="shape",
        )
    return sides


def is_shape(values: list[object] | tuple[object, ...]) -> bool:
    """Whether these are the sides of a tensor that could be: few enough, whole, none absurd."""
    if len(values) > MAX_DIMENSIONS:
        return False
    return all(isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 2**40 for v in values)


def _numbers(text: str) -> tuple[int, ...] | None:
    sides = [side.strip() for side in text[: 3 * MAX_TEXT].split(",")]
    if len(text) > 3 * MAX_TEXT or not all(side.isascii() and side.isdecimal() for side in sides):
        return None
    numbers = tuple(int(side) for side in sides)
    return numbers if is_shape(numbers) else None
