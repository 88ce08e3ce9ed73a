"""A reference set as ADM's evaluator keeps it: an npz of statistics, and often of pictures.

``mu``, ``sigma`` are of pooled Inception features, ``mu_s``, ``sigma_s`` of the spatial ones, ``mu_dinov2``,
``sigma_dinov2`` of DINOv2's, ``arr_0`` holds pictures (N, H, W, 3) uint8. Which pictures stand behind it decides a
generator's number by a factor of two or three (the training set of ImageNet against its validation set), so the file is
named and hashed in the report.

Letters: D features.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from eval.metrics.sets import Output, SetComparison
from tokenizer.core.checkpoint import sha256_of

_KEYS: dict[Output, tuple[str, str]] = {
    "pool": ("mu", "sigma"),
    "spatial": ("mu_s", "sigma_s"),
    "dinov2": ("mu_dinov2", "sigma_dinov2"),
}


@dataclass(frozen=True, slots=True)
class Gaussian:
    """Mean (D,) and covariance (D, D), float64."""

    mean: Tensor
    covariance: Tensor


@dataclass(frozen=True, slots=True)
class Reference:
    """An npz that was read.

    Attributes:
        path: the file.
        sha256: of its bytes.
        gaussians: statistics by kind of features.
        num_pictures: pictures in it; 0 if it holds statistics alone.
    """

    path: Path
    sha256: str
    gaussians: Mapping[Output, Gaussian]
    num_pictures: int

    @classmethod
    def read(cls, path: Path) -> "Reference":
        """Read the statistics; no pickle is ever read.

        Raises:
            ValueError: if the file is not such an npz.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                gaussians = {
                    output: _gaussian(path, arrays[mean], arrays[covariance])
                    for output, (mean, covariance) in _KEYS.items()
                    if mean in arrays and covariance in arrays
                }
                count = len(_checked(path, arrays["arr_0"])) if "arr_0" in arrays else 0
        except (OSError, BadZipFile, TypeError) as error:
            raise ValueError(f"reference={path}: not an npz: {error}") from None
        if not gaussians and not count:
            raise ValueError(f"reference={path}: neither statistics (mu, sigma) nor pictures (arr_0) in it")
        return cls(path, sha256_of(path), gaussians, count)

    def pictures(self) -> Tensor:
        """All pictures (N, 3, H, W) uint8 in order; read anew at every call."""
        with np.load(self.path, allow_pickle=False) as arrays:
            return torch.from_numpy(_checked(self.path, arrays["arr_0"])).permute(0, 3, 1, 2)

    def serve(self, metric: SetComparison) -> str | None:
        """Set a metric against this reference, or say what the file lacks for it.

        A Frechet distance takes the statistics; any other metric, and a Frechet distance without them, takes the
        pictures, which the caller then gives it.
        """
        if not metric.needs_real:
            return None
        if metric.output in self.gaussians and metric.score_to_gaussian is not None:
            gaussian = self.gaussians[metric.output]
            metric.refer_to(gaussian.mean, gaussian.covariance)
            return None
        if not self.num_pictures:
            return f"{self.path.name} holds no pictures (arr_0), only statistics"
        return None


def _gaussian(path: Path, mean: np.ndarray, covariance: np.ndarray) -> Gaussian:
    width = len(mean)
    if mean.shape != (width,) or covariance.shape != (width, width):
        raise ValueError(f"reference={path}: mean {mean.shape} and covariance {covariance.shape} do not fit")
    made = Gaussian(*(torch.from_numpy(array.astype(np.float64)) for array in (mean, covariance)))
    if not bool(torch.isfinite(made.mean).all() and torch.isfinite(made.covariance).all()):
        raise ValueError(f"reference={path}: its statistics hold NaN or infinity")
    return made


def _checked(path: Path, pictures: np.ndarray) -> np.ndarray:
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[-1] != 3:
        raise ValueError(
            f"reference={path}: arr_0 must be (N, H, W, 3) uint8, got {pictures.shape} {pictures.dtype}"
        )
    return pictures
