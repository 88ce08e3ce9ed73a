"""What both classes share: the statistics of a latent and how one scale stands for them."""

import math
from typing import Any, NamedTuple, NoReturn

from tokenizer.spec import LatentSpec


class Statistics(NamedTuple):
    """Mean and standard deviation of each channel of the raw latent."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, spec: LatentSpec) -> "Statistics":
        """Those of an ordinary latent.

        Raises:
            ValueError: if they were never measured; says which command does it.
        """
        if spec.z.mean is None or spec.z.std is None:
            raise ValueError(
                "an export states how its latents are scaled, and this tokenizer has no latent statistics "
                "yet: measure them with `python -m tokenizer.stats source=FOLDER data.path=PICTURES`"
            )
        return cls(spec.z.mean, spec.z.std)


def one_scale(statistics: Statistics) -> float:
    """1 / rms over all channels, exact where the means are 0 and all channels agree.

    Rounded to 12 digits, so that a factor is written with the digits it was read with.
    """
    if not any(statistics.mean) and len(set(statistics.std)) == 1:
        return float(f"{1 / statistics.std[0]:.12g}")
    squares = [mean * mean + std * std for mean, std in zip(*statistics, strict=True)]
    return float(f"{1 / math.sqrt(math.fsum(squares) / len(squares)):.12g}")


def refuse(name: str, key: str, value: Any, wanted: Any) -> NoReturn:  # settings of another project
    """ValueError for a setting of class ``name`` that our network cannot express."""
    raise ValueError(f"{name} with {key}={value!r} cannot be converted: it must be {wanted!r}")
