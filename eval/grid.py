"""One picture of all classes: samples, each beside its nearest photograph.

Letters: R side of a picture, H W rows and columns of the grid.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

GAP, PAIR_GAP, TEXT = 3, 10, 13


def class_grid(rows: Sequence[tuple[str, Sequence[tuple[Tensor, Tensor]]]], remark: str) -> Image.Image:
    """Rows of (class name, pairs of (sample, photograph)), each picture (3, R, R) uint8, on white.

    In every pair the sample is on the left; ``remark`` stands above.
    """
    font = ImageFont.load_default(size=TEXT)
    side = rows[0][1][0][0].shape[-1]
    margin = GAP + max(int(font.getlength(name)) for name, _ in rows) + PAIR_GAP
    widest = max(len(pairs) for _, pairs in rows)
    width = margin + widest * (2 * side + GAP + PAIR_GAP)
    top = 2 * TEXT
    grid = Image.new(
        "RGB", (max(width, GAP + int(font.getlength(remark))), top + len(rows) * (side + GAP)), "white"
    )
    draw = ImageDraw.Draw(grid)
    draw.text((GAP, TEXT // 3), remark, fill="black", font=font)
    for number, (name, pairs) in enumerate(rows):
        y = top + number * (side + GAP)
        draw.text((GAP, y + side // 2 - TEXT // 2), name, fill="black", font=font)
        for place, pair in enumerate(pairs):
            x = margin + place * (2 * side + GAP + PAIR_GAP)
            for offset, picture in enumerate(pair):
                grid.paste(_image(picture), (x + offset * (side + GAP), y))
    return grid


def _image(picture: Tensor) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(picture.permute(1, 2, 0).cpu().numpy()))
