"""Regions that compute in their own precision, whatever autocast surrounds them."""

import contextlib

import torch


def full_precision(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Autocast off on this device; nothing to switch off where a device has no autocast (meta)."""
    if not torch.amp.is_autocast_available(device.type):
        return contextlib.nullcontext()
    return torch.autocast(device.type, enabled=False)


def half_precision(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Autocast to bfloat16 on this device, or nothing where it has no autocast (meta)."""
    if not torch.amp.is_autocast_available(device.type):
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
