"""Activations that are computed again in the backward pass instead of kept: less memory for about a third more time.

Source: Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost, arXiv 1604.06174 (section 4.1).
"""

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


@runtime_checkable
class Recomputable(Protocol):
    """A network that names the modules whose activations need not be kept."""

    def blocks(self) -> Iterator[nn.Module]:
        """Modules that do not contain one another."""
        ...


def recompute_blocks(*networks: nn.Module) -> None:
    """From now on every block of these keeps its inputs alone for the backward pass.

    Values, gradients, parameters and their names stay what they are; without gradients nothing changes at all.
    Doing it again changes nothing more.

    Raises:
        ValueError: if a network does not name its blocks.
    """
    for network in networks:
        if not isinstance(network, Recomputable):
            raise ValueError(
                f"{type(network).__module__} names no blocks, so recompute is not available for it"
            )
        for block in network.blocks():
            block.forward = functools.partial(_recomputed, block)


def _recomputed(block: nn.Module, *inputs: Any, **options: Any) -> Any:  # whatever this block takes and gives
    forward: Callable[..., Any] = functools.partial(type(block).forward, block)
    if not torch.is_grad_enabled():
        return forward(*inputs, **options)
    if torch.compiler.is_compiling():  # a compiled graph writes buffers once, whatever it recomputes
        return checkpoint(forward, *inputs, use_reentrant=False, **options)
    if any(isinstance(given, MutableMapping) for given in inputs):
        forward = _with_caches_kept(forward, inputs)
    contexts = functools.partial(_contexts, block)
    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts, **options)


def _with_caches_kept(forward: Callable[..., Any], inputs: tuple[Any, ...]) -> Callable[..., Any]:
    """The first pass moves the caller's caches on; each further one begins where it began, on copies of them."""
    caches = [dict(given) if isinstance(given, MutableMapping) else None for given in inputs]
    passes = itertools.count()

    def run(*given: Any, **options: Any) -> Any:
        if next(passes):
            given = tuple(
                one if cache is None else dict(cache) for one, cache in zip(given, caches, strict=True)
            )
        return forward(*given, **options)

    return run


def _contexts(
    block: nn.Module,
) -> tuple[contextlib.AbstractContextManager[None], contextlib.AbstractContextManager[None]]:
    """Around the forward pass and around each further one."""
    return contextlib.nullcontext(), _BuffersKept(block)


class _BuffersKept(contextlib.AbstractContextManager[None]):
    """Leaves running statistics as the first pass made them, so that one picture counts once.

    Entered again for every walk back from the same graph.
    """

    def __init__(self, block: nn.Module) -> None:
        self.block = block
        self.before: list[tuple[Tensor, Tensor]] = []

    def __enter__(self) -> None:
        self.before = [(buffer, buffer.clone()) for buffer in self.block.buffers()]

    def __exit__(self, *error: object) -> None:
        with torch.no_grad():
            for buffer, value in self.before:
                buffer.copy_(value)
        self.before = []
