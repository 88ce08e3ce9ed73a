"""Windows of pictures of any aspect: resized to cover, cut and brought to size.

Sizes are (H, W); pictures are PIL's.
"""

import math

from PIL import Image

from tokenizer.data.transforms import BICUBIC, BOX


def resize_cover(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture scaled until it just covers ``size``: halved by box filter while it is twice as large, then bicubic.

    A square is covered as ``resize_short`` does it.
    """
    height, width = size
    while image.height >= 2 * height and image.width >= 2 * width:
        image = image.resize((image.width // 2, image.height // 2), BOX)
    scale = max(height / image.height, width / image.width)
    return image.resize(
        (max(width, round(image.width * scale)), max(height, round(image.height * scale))), BICUBIC
    )


def cover_size(size: tuple[int, int], room: float) -> tuple[int, int]:
    """``size`` times ``room``, rounded up: what pictures are brought to before windows are cut."""
    return math.ceil(size[0] * room), math.ceil(size[1] * room)


def cut_window(
    image: Image.Image, size: tuple[int, int], *, scale: float, across: float, down: float, mirrored: bool
) -> Image.Image:
    """A window of ``size`` times ``scale`` pixels, brought to ``size``.

    Args:
        image: at least as large as the window.
        size: of the result.
        scale: pixels of the picture to one of the result.
        across, down: where it lies in the room there is, 0 to 1.
        mirrored: left for right.
    """
    height, width = (
        min(have, side * scale) for have, side in zip((image.height, image.width), size, strict=True)
    )
    left, top = across * (image.width - width), down * (image.height - height)
    if scale == 1.0:
        left, top = round(left), round(top)
    box = (left, top, left + width, top + height)
    window = image.resize((size[1], size[0]), BICUBIC, box=box)
    return window.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else window
