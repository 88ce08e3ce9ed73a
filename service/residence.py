"""Where the models of a registry are, what memory they hold, and which may leave. No I/O; used from the loop only."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from service.engine.messages import ModelLoaded
    from service.errors import ServiceError
    from service.registry import Key, Registry

State = Literal["unloaded", "loading", "loaded", "failed"]


@dataclass(slots=True)
class Residence:
    """Where one model is.

    Attributes:
        memory_bytes: that it holds on the device now.
        known_bytes: that it held when it was last loaded; None before the first time.
        seconds: that the last load took.
        error: why the last load failed.
        failed_at: ``time.monotonic()`` of that.
        users: requests that keep it loaded.
        used_at: ``time.monotonic()`` of the last use.
    """

    state: State = "unloaded"
    memory_bytes: int = 0
    known_bytes: int | None = None
    seconds: float | None = None
    error: ServiceError | None = None
    failed_at: float = 0.0
    users: int = 0
    used_at: float = 0.0

    def loaded(self, told: ModelLoaded) -> None:
        """It is in memory from now on."""
        self.state, self.error, self.seconds = "loaded", None, told.seconds
        self.memory_bytes = self.known_bytes = told.memory_bytes
        self.used_at = time.monotonic()

    def failed(self, error: ServiceError) -> None:
        """It could not be loaded."""
        self.state, self.error, self.failed_at = "failed", error, time.monotonic()

    def gone(self) -> None:
        """It holds no memory any more."""
        self.memory_bytes = 0
        if self.state != "failed":
            self.state = "unloaded"


class Residences:
    """All of them.

    Args:
        registry: the models.
        budget_bytes: most memory of all loaded models together; 0 for no limit.
    """

    def __init__(self, registry: Registry, budget_bytes: int) -> None:
        self._registry = registry
        self.budget_bytes = budget_bytes
        self._known: dict[Key, Residence] = {}

    def __getitem__(self, key: Key) -> Residence:
        return self._known.setdefault(key, Residence())

    def drop(self, key: Key) -> None:
        """Forget a model that the registry no longer has."""
        self._known.pop(key, None)

    @property
    def memory_bytes(self) -> int:
        """Memory that all loaded models hold."""
        return sum(at.memory_bytes for at in self._known.values())

    def loaded(self) -> list[Key]:
        """Those in memory, tokenizers first."""
        return [key for key in self._registry.known if self[key].state == "loaded"]

    def estimate(self, key: Key) -> int:
        """Memory that it will hold: what it held before, else the size of its files."""
        known = self[key].known_bytes
        return self._registry.model(key).weights_bytes if known is None else known

    def fits(self, keys: Iterable[Key]) -> bool:
        """Whether these alone would stay within the budget."""
        return not self.budget_bytes or sum(self.estimate(key) for key in keys) <= self.budget_bytes

    def has_room(self, key: Key) -> bool:
        """Whether it would stay within the budget beside what is loaded now."""
        return not self.budget_bytes or self.memory_bytes + self.estimate(key) <= self.budget_bytes

    def first(self) -> list[Key]:
        """What a first worker loads at its start: as many, in the order of the registry, as fit together."""
        chosen: list[Key] = []
        for key in self._registry.known:
            wanted = [part for part in self._registry.needs(key) if part not in chosen]
            if self.fits([*chosen, *wanted]):
                chosen += wanted
        for key in chosen:
            self[key].state = "loading"
        return chosen

    def needing(self, key: Key) -> list[Key]:
        """Loaded models that need this one."""
        return [other for other in self.loaded() if other != key and key in self._registry.needs(other)]

    def least_recently_used(self, keep: Iterable[Key]) -> Key | None:
        """Of the loaded ones that nobody uses, no loaded model needs, and that are not in ``keep``."""
        kept = set(keep)
        idle = [
            key for key in self.loaded() if key not in kept and not self[key].users and not self.needing(key)
        ]
        return min(idle, key=lambda key: self[key].used_at, default=None)
