"""What went wrong in the worker: told to the caller, logged, survived, or the end of the process."""

from __future__ import annotations

import gc
import logging
import os
import uuid

import torch

from service.errors import InternalError, OutOfMemory, ServiceError, TimedOut

logger = logging.getLogger(__name__)

BROKEN_DEVICE_EXIT_CODE = 70


def is_memory(error: BaseException) -> bool:
    """Whether the device or the host had not enough memory; smaller work may still succeed."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def free_memory() -> None:
    """Give back what nothing holds any more, so that the next try starts from what is really needed."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def without_frames(error: BaseException) -> BaseException:
    """The error without its traceback, whose frames would hold the tensors of what failed."""
    error.__context__ = error.__cause__ = None
    return error.with_traceback(None)


def to_service_error(error: BaseException, what: str) -> ServiceError:
    """What the caller is told; what is not meant for callers is logged, named by an incident."""
    if isinstance(error, ServiceError):
        return error
    if is_memory(error):
        return OutOfMemory(
            "the device has not enough memory for this request: send a smaller picture or ask for fewer"
        )
    incident = uuid.uuid4().hex[:12]
    logger.error("incident %s in %s", incident, what, exc_info=error)
    return InternalError(
        f"the server failed on this request; its log has the reason under incident {incident}",
        details={"incident": incident},
    )


def too_late() -> TimedOut:
    """The deadline of a request has passed while it was in the worker."""
    return TimedOut("x-timeout-ms has passed: give the request more time, or ask for less")


def end_if_broken(error: BaseException) -> None:
    """A CUDA error leaves the process unusable: end it, so that a fresh one starts."""
    if is_memory(error) or "CUDA error" not in str(error):
        return
    logger.critical("the device failed, the worker ends", exc_info=error)
    os._exit(BROKEN_DEVICE_EXIT_CODE)
