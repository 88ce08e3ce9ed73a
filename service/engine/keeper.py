"""Who decides which models the workers have: what the engine asks and tells. ``service.lifecycle`` is one."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from service.engine.messages import Job, ModelLoaded


class Keeper(Protocol):
    """Keeps the models that jobs work with."""

    def gate(self, job: Job) -> AbstractAsyncContextManager[None]:
        """Entered before a job is admitted and left when it has ended: keeps its model loaded. May wait or refuse."""
        ...

    def told(self, loaded: ModelLoaded) -> None:
        """A worker has loaded a model, at its start or when asked."""
        ...

    def lost(self) -> None:
        """A worker could not start again with the models it had; the next one starts with none."""
        ...


class AllLoaded:
    """Whatever the workers have loaded at their start is all there is."""

    def gate(self, job: Job) -> AbstractAsyncContextManager[None]:
        """Every job passes."""
        return nullcontext()

    def told(self, loaded: ModelLoaded) -> None:
        """As expected."""

    def lost(self) -> None:
        """Workers that lack models say so."""
