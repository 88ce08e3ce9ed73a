"""What jobs that measure share: a place to work, metrics under protocols, and what their results depend on."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from eval import processes
from eval.data import Pictures
from eval.errors import EvaluationError
from eval.protocols import EvaluationProtocol, protocol
from eval.report import Panel, check_required
from eval.settings import JobConfig
from eval.shards import only_run


@contextmanager
def workplace(config: JobConfig) -> Iterator[None]:
    """Around a whole job: its processes joined, its folder locked against another run.

    Raises:
        EvaluationError: another run works in the folder.
    """
    with processes.joined(), only_run(config.out):
        yield


@contextmanager
def refused() -> Iterator[None]:
    """Around preparing: what does not fit becomes an EvaluationError with the same sentence."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise EvaluationError(str(error)) from error


def build_panels(
    config: JobConfig,
    names: Sequence[str],
    resolution: int,
    default: Callable[[EvaluationProtocol], tuple[str, ...]],
    device: torch.device,
) -> tuple[Panel, ...]:
    """The metrics of a job under each of its protocols: those asked for, or those that ``default`` takes from it.

    Raises:
        ValueError: for a protocol or a metric that there is not.
    """
    protocols = [protocol(name, resolution, config.data.on_corrupt) for name in names]
    return tuple(
        Panel(config.metrics or default(named), named, config.weights, device) for named in protocols
    )


def check_panel(config: JobConfig, panel: Panel) -> None:
    """EvaluationError if a required metric cannot be computed here."""
    check_required(config.require, dict.fromkeys(panel.names), panel.missing)


def depends(
    config: JobConfig, device: torch.device, pictures: Pictures, panels: Sequence[Panel]
) -> dict[str, Any]:  # JSON
    """What results of any job depend on, beside the model: protocols, metrics and their weights, pictures, batches."""
    weights = {
        record.name: record.sha256
        for panel in panels
        for metric in panel.metrics.values()
        for record in metric.weights
    }
    return {
        "protocols": {panel.protocol.name: panel.protocol.hash for panel in panels},
        "metrics": {panel.protocol.name: list(panel.metrics) for panel in panels},
        "weights": weights,
        "pictures": pictures.fingerprint(),
        "resolution": pictures.resolution,
        "batch_size": config.batch_size,
        "dtype": config.dtype,
        "device": device.type,
    }
