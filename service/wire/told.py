"""What is told beside npy and raw bodies: headers of requests and answers, by one name each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from service.errors import WrongShape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.wire.dtypes import Array

SIZE, SPEC, SHAPE, DTYPE = "x-tessera-size", "x-tessera-spec", "x-tessera-shape", "x-tessera-dtype"
SCALE, OFFSET = "x-tessera-scale", "x-tessera-offset"
TOLD = (SIZE, SPEC, SHAPE, DTYPE, SCALE, OFFSET)
# Scales and offsets that headers have room for; proxies cut headers of more than 8 KiB.
MAX_VALUES = 256


def write_values(values: Array) -> str:
    """float32 numbers as text, outermost first, with as many digits as bring each back exactly."""
    return ",".join(str(value) for value in values.reshape(-1))


def read_values(headers: Mapping[str, str], name: str) -> Array | None:
    """The float32 numbers of a header; None where it is not sent.

    Raises:
        WrongShape: too many, or no numbers.
    """
    text = headers.get(name)
    if text is None:
        return None
    numbers = text.split(",", MAX_VALUES)
    try:
        if len(numbers) > MAX_VALUES:
            raise ValueError("too many")
        values = np.array([float(number[:32]) for number in numbers])
    except ValueError:
        raise WrongShape(
            f"{name} must be up to {MAX_VALUES} numbers, separated by commas: send what /v1/encode told, unchanged",
            param=name,
        ) from None
    with np.errstate(over="ignore"):  # infinity is refused where the latent is checked
        return values.astype(np.float32)
