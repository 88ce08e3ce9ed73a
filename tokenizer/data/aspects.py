"""Aspect ratios as buckets: sizes of about the same number of pixels, and which of them suits a video.

Sizes are (H, W).
"""

import math
import re
from collections.abc import Sequence

ASPECT = re.compile(r"([1-9][0-9]{0,2}):([1-9][0-9]{0,2})")


def parse_aspect(text: str) -> float:
    """``"16:9"``, width to height, -> 1.777...

    Raises:
        ValueError: showing the form that is expected.
    """
    found = ASPECT.fullmatch(text)
    if found is None or not 1 / 8 <= int(found[1]) / int(found[2]) <= 8:
        raise ValueError(f"an aspect is width:height, 1:8 to 8:1, for example 16:9, not {text!r}")
    return int(found[1]) / int(found[2])


def bucket_size(aspect: float, resolution: int, multiple: int) -> tuple[int, int]:
    """(H, W), multiples of ``multiple``, of that aspect and as many pixels as a square of ``resolution``, nearly."""
    height, width = resolution / math.sqrt(aspect), resolution * math.sqrt(aspect)
    return max(multiple, round(height / multiple) * multiple), max(
        multiple, round(width / multiple) * multiple
    )


def nearest_size(size: tuple[int, int], sizes: Sequence[tuple[int, int]]) -> int:
    """The place of the size whose aspect is nearest, as a ratio; of two as near the first."""
    aspect = size[1] / size[0]
    return min(range(len(sizes)), key=lambda place: abs(math.log(aspect * sizes[place][0] / sizes[place][1])))
