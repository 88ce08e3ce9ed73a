"""One optimizer at work: accumulated gradients, clipped, checked, applied at the scheduled rate.

Processes agree on whether a step is finite; a step that is not is skipped and counted, and too many in a row
stop the run.
"""

import contextlib
import logging
from collections.abc import Iterator

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from tokenizer.core.optim import OptimConfig, set_lr

logger = logging.getLogger(__name__)

MAX_SKIPPED = 20


class DivergedError(RuntimeError):
    """Too many steps in a row were not finite."""


class Descent:
    """Moves the parameters of one module.

    Args:
        accelerator: of the run.
        module: as prepared by it.
        optimizer: over the module's parameters.
        config: schedule and clipping.
        total: images that the schedule spans.
        batch: images in one step, over all processes.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        config: OptimConfig,
        total: int,
        batch: int,
    ) -> None:
        self.accelerator = accelerator
        self.module = module
        self.optimizer = optimizer
        self.config = config
        self.total = total
        self.batch = batch
        self.skipped_in_a_row = 0
        self._finite = torch.ones((), device=accelerator.device)

    @contextlib.contextmanager
    def accumulating(self, last: bool) -> Iterator[None]:
        """Around forward and backward of one micro-batch; only the last one exchanges gradients."""
        with contextlib.nullcontext() if last else self.accelerator.no_sync(self.module):
            yield

    def backward(self, loss: Tensor, value: Tensor | None = None) -> None:
        """Accumulate the gradient of a micro-batch's share of the loss; ``value`` is what must be finite, if not it."""
        checked = loss if value is None else value
        self._finite = self._finite * torch.isfinite(checked.detach()).float()
        self.accelerator.backward(loss)

    def step(self, images: int) -> float | None:
        """Apply what was accumulated in a step that began after ``images``; None if it was skipped.

        Returns:
            The norm of the gradients before clipping.

        Raises:
            DivergedError: after 20 steps in a row that were not finite.
        """
        trained = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        limit = self.config.max_norm if self.config.max_norm is not None else float("inf")
        norm = torch.nn.utils.clip_grad_norm_(trained, limit)
        finite = self.accelerator.reduce(self._finite * torch.isfinite(norm).float(), "mean")
        applied = bool(finite == 1.0)
        self._finite = torch.ones_like(self._finite)
        if applied:
            set_lr(self.optimizer, self.config.lr_at(images, self.total, self.batch))
            self.optimizer.step()
            self.skipped_in_a_row = 0
        else:
            self.skipped_in_a_row += 1
            logger.warning("step after %d images skipped: loss or gradient is not finite", images)
        self.optimizer.zero_grad(set_to_none=True)
        if self.skipped_in_a_row >= MAX_SKIPPED:
            raise DivergedError(
                f"{MAX_SKIPPED} steps in a row were not finite, the last after {images} images: "
                "lower optim.lr, or use precision=fp32"
            )
        return float(norm) if applied else None
