"""A region that computes in the precision of its inputs, whatever autocast surrounds it."""

import contextlib

import torch


def full_precision(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Autocast off on this device; nothing to switch off where a device has no autocast (meta)."""
    if not torch.amp.is_autocast_available(device.type):
        return contextlib.nullcontext()
    return torch.autocast(device.type, enabled=False)
