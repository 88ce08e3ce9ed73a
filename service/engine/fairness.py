"""Whose turn it is: each key of those that wait gets the same share of the device's seconds. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

K = TypeVar("K", bound="Hashable")


class FairShares(Generic[K]):
    """Start-time fair queueing over keys: the one that was served least is next, and idling saves nothing up.

    A key that waits is passed over only while others catch up with what it was given, so none starves; one that comes
    back from idling starts level with the key that is being served.

    Source: Goyal, Vin and Cheng 1996, Start-Time Fair Queuing, SIGCOMM, section 2.
    """

    def __init__(self) -> None:
        self._served: dict[K, float] = {}  # seconds, counted up to the clock while idle
        self._waiting: set[K] = set()
        self._clock = 0.0

    def choose(self, keys: Sequence[K]) -> K:
        """The next of the keys that wait, in order of arrival; that order decides between equals."""
        if not self._waiting.intersection(
            keys
        ):  # all who waited are gone: those who come start level with them
            self._clock = max(self._served.values(), default=self._clock)
        for key in keys:
            if key not in self._waiting:
                self._served[key] = max(self._served.get(key, 0.0), self._clock)
        self._waiting = set(keys)
        chosen = min(keys, key=lambda key: self._served[key])
        self._clock = max(self._clock, self._served[chosen])
        self._served = {
            key: served
            for key, served in self._served.items()
            if key in self._waiting or served > self._clock
        }
        return chosen

    def charge(self, key: K, seconds: float) -> None:
        """The key was served for so long, measured or predicted."""
        self._served[key] = self._served.get(key, self._clock) + seconds
