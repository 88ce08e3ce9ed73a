"""How fast and how true the Frechet distance is, against scipy's square root and torchmetrics, in one run.

``python -m eval.frechet_speed [width=2048] [full=4096] [few=1000] [repeats=3] [threads=N]``: covariances of ``full``
rows (full rank) and of ``few`` (singular), seeded; each way takes its turn, the median counts. scipy and torchmetrics
take part where they are installed. The truth for singular covariances is the singular values of the features
themselves (Dowson and Landau 1982), and so free of any square root.
"""

import importlib.util
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from eval import machine
from eval.frechet import Moments, frechet_distance, frechet_distance_of_few, frechet_distance_of_sets
from tokenizer.core.config import Config, from_cli, refusals


class FrechetSpeedConfig(Config):
    """Time the Frechet distance against the ways that others take."""

    width: int = Field(default=2048, ge=2, description="features")
    full: int = Field(default=4096, ge=2, description="rows of full rank")
    few: int = Field(default=1000, ge=2, description="rows where covariances are singular; below the width")
    repeats: int = Field(default=3, ge=1)
    threads: int | None = Field(default=None, ge=1, description="of torch and of the libraries below")
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Timing:
    """One way of computing the distance.

    Attributes:
        seconds: median of the repeats.
        processor_s: the same in time of the processor, which a busy machine does not disturb.
        value: the distance.
        error: |value - truth| / truth.
    """

    seconds: float
    processor_s: float
    value: float
    error: float


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    config = from_cli(FrechetSpeedConfig, "eval.frechet_speed", None, argv)
    with refusals("eval.frechet_speed"):
        sys.stdout.write(table(config, measure(config)))


def measure(config: FrechetSpeedConfig) -> dict[str, dict[str, Timing]]:
    """Timings by case (``full rank``, ``singular``) and way.

    Raises:
        ValueError: if the case of few rows is not singular.
    """
    if config.few > config.width or config.full <= config.width:
        raise ValueError(f"few={config.few} and full={config.full}: below and above width={config.width}")
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    cases = {"full rank": config.full, "singular": config.few}
    return {name: _case(config, rows) for name, rows in cases.items()}


def _case(config: FrechetSpeedConfig, rows: int) -> dict[str, Timing]:
    real, fake = (features(config.seed + side, rows, config.width) for side in range(2))
    a, b = Moments.of(real), Moments.of(fake)
    ways: dict[str, Callable[[], float]] = {
        "ours, from features": lambda: frechet_distance_of_sets(real, fake),
        "ours, from covariances": lambda: frechet_distance(a, b),
    }
    if importlib.util.find_spec("scipy") is not None:
        ways["scipy sqrtm"] = lambda: by_sqrtm(a, b)
    if importlib.util.find_spec("torchmetrics") is not None:
        ways["torchmetrics"] = lambda: by_torchmetrics(a, b)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    values: dict[str, float] = {}
    for _ in range(config.repeats):
        for name, way in ways.items():  # in turn, so that a busy machine is busy for all of them
            start, used = time.perf_counter(), time.process_time()
            values[name] = way()
            seconds[name].append(time.perf_counter() - start)
            processor[name].append(time.process_time() - used)
    truth = frechet_distance_of_few(real, fake)
    return {
        name: Timing(
            statistics.median(seconds[name]),
            statistics.median(processor[name]),
            values[name],
            abs(values[name] - truth) / truth,
        )
        for name in ways
    }


def features(seed: int, rows: int, width: int) -> Tensor:
    """Correlated features with falling variances, and a mean that differs by seed: (rows, width) float32."""
    generator = torch.Generator().manual_seed(seed)
    scales = torch.linspace(0.0, -3.0, width).exp()
    mixing = torch.randn(width, width, generator=torch.Generator().manual_seed(99)) / width**0.5
    made: Tensor = (torch.randn(rows, width, generator=generator) * scales) @ mixing
    return made + 0.02 * seed


def by_sqrtm(a: Moments, b: Moments) -> float:
    """The distance by scipy's general square root, as pytorch-fid and ADM's evaluator take it."""
    from scipy.linalg import sqrtm

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the product is singular
        root = sqrtm(a.covariance.numpy() @ b.covariance.numpy())
    shift = float((a.mean - b.mean).square().sum())
    return shift + float(np.trace((a.covariance + b.covariance).numpy()) - 2.0 * np.trace(np.real(root)))


def by_torchmetrics(a: Moments, b: Moments) -> float:
    """The distance by torchmetrics: eigenvalues of the product, which is not symmetric."""
    from torchmetrics.image.fid import _compute_fid

    return float(_compute_fid(a.mean, a.covariance, b.mean, b.covariance))


def table(config: FrechetSpeedConfig, cases: Mapping[str, Mapping[str, Timing]]) -> str:
    """The timings for people; ratios are of processor time to that of ours from covariances."""
    lines = [
        f"Frechet distance, {config.width} features, median of {config.repeats}, {torch.get_num_threads()} threads, "
        f"{machine.describe(torch.device('cpu')).processor}, torch {torch.__version__}"
    ]
    for case, ways in cases.items():
        rows = config.full if case == "full rank" else config.few
        lines.append(f"{case} ({rows} rows):")
        ours = ways["ours, from covariances"].processor_s
        for name, timing in ways.items():
            lines.append(
                f"  {name:24s} {timing.seconds:8.3f} s, processor {timing.processor_s:8.3f} s  "
                f"{timing.processor_s / ours:6.2f} x   {timing.value:.9g}   "
                f"off the singular values by {timing.error:.1e}"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
