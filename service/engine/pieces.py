"""Frames that come and go in pieces: read ahead, written behind, and put together again. Imports no torch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from tokenizer.data.video_file import Frames
from tokenizer.data.video_writer import TICKS

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Iterable, Iterator

    from service.codecs import Pixels

T = TypeVar("T")


class Behind:
    """One thing at a time in a thread of its own; the next waits for the one before."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "clip-writer")
        self._running = self._thread.submit(lambda: None)

    def run(self, work: Callable[[], None]) -> None:
        """Start it when what runs is done."""
        self.wait()
        self._running = self._thread.submit(work)

    def wait(self) -> None:
        """Until what runs is done; its error is raised here."""
        self._running.result()

    def __enter__(self) -> Behind:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)


def ahead(items: Iterable[T]) -> Iterator[T]:
    """The same items, the next one made in a thread while this one is used."""
    walk = iter(items)
    nothing = object()
    with ThreadPoolExecutor(1, "clip-reader") as thread:
        coming = thread.submit(next, walk, nothing)
        while (item := coming.result()) is not nothing:
            coming = thread.submit(next, walk, nothing)
            yield item  # type: ignore[misc]  # the mark of the end went out above


def taken(sent: deque[Frames], count: int) -> tuple[Pixels, tuple[Fraction, ...]]:
    """The first ``count`` frames that were sent, out of the line."""
    pixels: list[Pixels] = []
    times: list[Fraction] = []
    while len(times) < count:
        piece = sent.popleft()
        need = count - len(times)
        pixels.append(piece.pixels[:need])
        times += piece.times[:need]
        if need < len(piece.times):
            sent.appendleft(Frames(piece.pixels[need:], piece.times[need:]))
    return np.concatenate(pixels), tuple(times)


def rising(times: tuple[Fraction, ...], last: Fraction | None) -> tuple[Fraction, ...]:
    """Each later than the one before, as a file must have them; those that are not are put right behind it."""
    risen: list[Fraction] = []
    for time in times:
        risen.append(time if last is None else max(time, last + Fraction(1, TICKS)))
        last = risen[-1]
    return tuple(risen)
