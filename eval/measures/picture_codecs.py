"""JPEG, WebP and AVIF at a budget: the highest quality whose files are, on average over the set, within it.

The whole file counts, its header included; at 64x64 that is most of a JPEG. A tokenizer spends the same bits on
every picture, a codec spends more on rich ones: only the mean is held to the budget.

Letters: H W rows and columns.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

CodecName = Literal["jpeg", "webp", "avif"]


@dataclass(frozen=True, slots=True)
class PictureCodec:
    """A codec of Pillow.

    Attributes:
        name: as reports print it.
        format: as Pillow calls it.
        lowest: lowest quality; the highest is 100.
        options: how files are saved.
    """

    name: str
    format: str
    lowest: int
    options: Mapping[str, Any] = field(default_factory=dict)  # Pillow's, of several types

    def encode(self, picture: Tensor, quality: int) -> bytes:
        """uint8 (3, H, W) -> a file."""
        buffer = io.BytesIO()
        image = Image.fromarray(np.ascontiguousarray(picture.permute(1, 2, 0).numpy()))
        image.save(buffer, format=self.format, quality=quality, **self.options)
        return buffer.getvalue()

    def decode(self, data: bytes) -> Tensor:
        """A file that ``encode`` made -> uint8 (3, H, W)."""
        with Image.open(io.BytesIO(data), formats=[self.format]) as image:
            return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()


CODECS: dict[CodecName, PictureCodec] = {
    "jpeg": PictureCodec("JPEG", "JPEG", 1, {"optimize": True}),  # 4:2:0, Huffman tables of the picture
    "webp": PictureCodec("WebP", "WEBP", 0, {"method": 6}),
    "avif": PictureCodec("AVIF", "AVIF", 0, {"speed": 6, "subsampling": "4:2:0", "max_threads": 1}),
}


@dataclass(frozen=True, slots=True)
class Coded:
    """A set of pictures at one quality.

    Attributes:
        quality: as Pillow counts it.
        mean_bits: of a file, header included.
        pictures: what comes back, uint8 (N, 3, H, W).
    """

    quality: int
    mean_bits: float
    pictures: Tensor


class CodecSearch:
    """Files of one set of pictures at any quality, each quality coded once.

    Args:
        codec: which.
        pictures: uint8, each (3, H, W).
    """

    def __init__(self, codec: PictureCodec, pictures: Sequence[Tensor] | Tensor) -> None:
        self.codec = codec
        self.pictures = pictures
        self._mean_bits: dict[int, float] = {}

    def mean_bits(self, quality: int) -> float:
        """Bits of a file on average."""
        if quality not in self._mean_bits:
            sizes = [len(self.codec.encode(picture, quality)) for picture in self.pictures]
            self._mean_bits[quality] = 8.0 * sum(sizes) / len(sizes)
        return self._mean_bits[quality]

    def at(self, quality: int) -> Coded:
        """The set at one quality."""
        decoded = [self.codec.decode(self.codec.encode(picture, quality)) for picture in self.pictures]
        return Coded(quality, self.mean_bits(quality), torch.stack(decoded))

    def best(self, budget: float) -> int | None:
        """The highest quality within ``budget`` bits on average (by halving); None if even the lowest is larger."""
        if self.mean_bits(self.codec.lowest) > budget:
            return None
        low, high = self.codec.lowest, 101  # low fits; high does not, or does not exist
        while high - low > 1:
            middle = (low + high) // 2
            if self.mean_bits(middle) <= budget:
                low = middle
            else:
                high = middle
        return low
