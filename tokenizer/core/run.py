"""What any training run starts from: the accelerator, precision, and the right to resume a folder."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn
from torch._functorch import config as functorch

Precision = Literal["fp32", "bf16"]


def build_accelerator(seed: int, *, deterministic: bool) -> Accelerator:
    """Devices and processes from the environment that ``accelerate launch`` sets.

    Autocast is entered by the loops (``autocast``), so that parameters stay float32 and losses compute in it.
    """
    accelerator = Accelerator(mixed_precision="no")
    set_seed(seed, deterministic=deterministic)
    return accelerator


def autocast(device: torch.device, precision: Precision) -> contextlib.AbstractContextManager[None]:
    """bfloat16 for what is safe in it, or nothing."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def compile_modules(*modules: nn.Module, apart: nn.Module | None = None) -> None:
    """``torch.compile`` them in place; ``apart``, somewhere inside, stays as it is.

    The gradient of one parameter inside a compiled graph costs the whole graph's backward pass; that of a module
    that stands apart costs its own. Compiled code keeps its buffers, so that more than one gradient can be asked for.
    """
    functorch.donated_buffer = False
    if apart is not None:
        apart.forward = torch.compiler.disable(apart.forward)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    for module in modules:
        module.compile()


def crossed(before: int, after: int, every: int) -> bool:
    """Whether a multiple of ``every`` lies in (before, after]; never if ``every`` is 0."""
    return every > 0 and after // every > before // every


def refuse_changes(saved: Mapping[str, Any], now: Mapping[str, Any], free: Sequence[str]) -> None:
    """A run goes on only with the settings it began with.

    Args:
        saved: settings in the checkpoint, as plain data.
        now: settings of this command.
        free: dotted paths that may differ (they do not change results).

    Raises:
        ValueError: naming the first setting that differs, with both values.
    """
    before, after = _flatten(saved), _flatten(now)
    for path in sorted(before.keys() | after.keys()):
        if before.get(path) != after.get(path) and not any(
            path == item or path.startswith(item + ".") for item in free
        ):
            raise ValueError(
                f"this folder holds a run with {path}={before.get(path)!r}, not {after.get(path)!r}: "
                "go on with its settings, or give another out=FOLDER"
            )


def _flatten(tree: Any, prefix: str = "") -> dict[str, Any]:  # plain data of any depth
    if isinstance(tree, Mapping):
        items = [(str(key), value) for key, value in tree.items()]
    elif isinstance(tree, list | tuple):
        items = [(str(index), value) for index, value in enumerate(tree)]
    else:
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for key, value in items:
        flat |= _flatten(value, f"{prefix}.{key}" if prefix else key)
    return flat
