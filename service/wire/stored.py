"""A tensor as it lies in a body: a view that costs nothing until it is read as numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from service.errors import WrongShape
from service.wire.dtypes import FLOATS, to_float32
from service.wire.quantised import dequantise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from service.wire.dtypes import Array


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor of any type of ``dtypes.LAYOUTS``.

    Attributes:
        array: a view of the body, elements as they lie there.
        dtype: their type by name.
        scale, offset: float32, of a quantised tensor (uint8); one value, one a channel, or one a sample and channel.
    """

    array: NDArray[Any]
    dtype: str = "float32"
    scale: Array | None = None
    offset: Array | None = None

    @property
    def is_latent(self) -> bool:
        """Whether the elements stand for real numbers: floats, or codes with scale and offset."""
        return self.dtype in FLOATS or (self.scale is not None and self.offset is not None)

    def reshaped(self, shape: tuple[int, ...]) -> Stored:
        """The same elements in another shape."""
        return Stored(self.array.reshape(shape), self.dtype, self.scale, self.offset)

    def numbers(self) -> Array:
        """float32 (B, C, ...); copies unless it is float32 already.

        Raises:
            WrongShape: scale or offset are not one value, C, or B C values.
        """
        if self.scale is None or self.offset is None:
            return to_float32(self.array, self.dtype)
        with np.errstate(over="ignore", invalid="ignore"):  # whoever checks the result sees infinity and NaN
            return dequantise(
                self.array, self._spread(self.scale, "scale"), self._spread(self.offset, "offset")
            )

    def _spread(self, values: Array, name: str) -> Array:
        samples, channels = (*self.array.shape, 0, 0)[:2]
        shapes = {1: (1, 1), channels: (1, channels), samples * channels: (samples, channels)}
        if self.array.ndim < 2 or values.size not in shapes:
            raise WrongShape(
                f"{name} holds {values.size} values, a uint8 latent of {samples} samples and {channels} channels needs "
                f"{samples * channels}, {channels} or 1: send what /v1/encode gave, unchanged",
                param=name,
            )
        return values.reshape(shapes[values.size])
