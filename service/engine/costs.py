"""What network passes cost: measured seconds by kind of pass, model, pixels and bucket; which buckets pay.

A bucket is a number of rows that the network sees at once, a power of two; fewer rows are padded. Imports no torch;
one thread writes (the core), others only read.

Letters: s(b) seconds of a pass of bucket b.
"""

from __future__ import annotations

import math
from collections import defaultdict

Kind = tuple[str, str]  # kind of pass (encode, decode, reconstruct, step) and name of the model
# A larger bucket pays if a row takes at most this part of what it takes in the best smaller one.
PAYS = 0.95
SMOOTHING = 0.1


def buckets_up_to(most: int) -> tuple[int, ...]:
    """1, 2, 4, ... up to ``most``."""
    return tuple(2**power for power in range(most.bit_length()))


def parse_buckets(text: str, max_batch: int) -> tuple[tuple[int, ...], bool]:
    """TESSERA_BUCKETS -> the buckets there are, 1 among them always, and whether measuring chooses among them.

    Raises:
        ValueError: showing the form that is expected.
    """
    if text == "auto":
        return buckets_up_to(max_batch), True
    try:
        buckets = tuple(sorted({1, *(int(item) for item in text.split(","))}))
    except ValueError:
        buckets = (0,)
    if any(bucket not in buckets_up_to(max_batch) for bucket in buckets):
        raise ValueError(
            f"TESSERA_BUCKETS={text}: write auto, or powers of two up to TESSERA_MAX_BATCH={max_batch}, like 1,2,4"
        )
    return buckets, False


class Costs:
    """Seconds of passes, from warm-up and from every pass since.

    Args:
        buckets: that may be used, ascending.
        chosen: whether only those that pay are used; otherwise all are.
        max_pixels: of a pass of more than one row: what the device's memory allows.
        max_seconds: of a pass of more than one row: what others may have to wait.
    """

    def __init__(
        self, buckets: tuple[int, ...], *, chosen: bool, max_pixels: int, max_seconds: float
    ) -> None:
        self._buckets = buckets
        self._chosen = chosen
        self._max_pixels = max_pixels
        self._max_seconds = max_seconds
        # kind -> pixels of a row -> bucket -> seconds
        self._seconds: defaultdict[Kind, dict[int, dict[int, float]]] = defaultdict(dict)
        self._too_many: dict[Kind, int] = {}  # pixels of a pass that memory did not hold

    @property
    def buckets(self) -> tuple[int, ...]:
        """Every bucket that may be used, ascending."""
        return self._buckets

    @property
    def max_seconds(self) -> float:
        """Longest pass of more than one row."""
        return self._max_seconds

    def set(self, kind: Kind, pixels: int, bucket: int, seconds: float) -> None:
        """A warm-up's measurement of a pass of ``bucket`` rows of ``pixels`` each."""
        self._seconds[kind].setdefault(pixels, {})[bucket] = seconds

    def measured(self, kind: Kind, pixels: int, bucket: int) -> float | None:
        """s(b) if just this was measured."""
        return self._seconds.get(kind, {}).get(pixels, {}).get(bucket)

    def observe(self, kind: Kind, pixels: int, bucket: int, seconds: float) -> None:
        """A pass of real work; it refines what was measured for this size and bucket."""
        known = self.measured(kind, pixels, bucket)
        if known is not None:
            self.set(kind, pixels, bucket, known + SMOOTHING * (seconds - known))

    def forget(self, kind: Kind) -> None:
        """The model is gone."""
        self._seconds.pop(kind, None)
        self._too_many.pop(kind, None)

    def too_much(self, kind: Kind, pixels: int, bucket: int) -> None:
        """Memory did not hold a pass: smaller ones from now on."""
        self._too_many[kind] = min(self._too_many.get(kind, pixels * bucket), pixels * bucket)

    def seconds(self, kind: Kind, pixels: int, bucket: int) -> float | None:
        """s(b) for rows of ``pixels``: measured, or scaled from the nearest size measured; None if unknown."""
        sizes = [size for size, known in self._seconds.get(kind, {}).items() if bucket in known]
        if not sizes:
            return None
        nearest = min(sizes, key=lambda size: abs(math.log(size / pixels)))
        return self._seconds[kind][nearest][bucket] * pixels / nearest

    def holds(self, kind: Kind, pixels: int, bucket: int) -> bool:
        """Whether memory holds a pass of ``bucket`` rows; one row is always tried."""
        limit = min(self._max_pixels, self._too_many.get(kind, self._max_pixels + 1) - 1)
        return bucket == 1 or bucket * pixels <= limit

    def paying(self, kind: Kind, pixels: int) -> tuple[int, ...]:
        """The buckets to use for rows of ``pixels``, ascending; the first one whatever it costs.

        A larger one must hold in memory, take no longer than a pass may, and make a row cheaper; where nothing is
        measured, it only has to hold.
        """
        paying = [self._buckets[0]]
        known = self._chosen and bool(self._seconds.get(kind))
        for bucket in self._buckets[1:]:
            if not self.holds(kind, pixels, bucket):
                break
            if known:
                seconds, best = (self.seconds(kind, pixels, each) for each in (bucket, paying[-1]))
                if seconds is None or best is None or seconds > self._max_seconds:
                    break
                if seconds / bucket > PAYS * best / paying[-1]:
                    continue
            paying.append(bucket)
        return tuple(paying)

    def best(self, kind: Kind, pixels: int, rows: int) -> int:
        """The bucket for a pass when ``rows`` wait: the one that does most of them a second; the larger of equals."""
        paying = self.paying(kind, pixels)
        largest = fitting(rows, paying)
        best, top = largest, 0.0
        for bucket in paying[: paying.index(largest) + 1]:
            seconds = self.seconds(kind, pixels, bucket)
            if seconds is None:
                return largest
            rate = min(rows, bucket) / max(seconds, 1e-9)
            if rate >= top * (1 - 1e-9):
                best, top = bucket, rate
        return best

    def seconds_per_pixel(self, kind: Kind) -> float | None:
        """At the bucket that pays most, over all sizes measured; None where nothing is."""
        rates = [
            seconds / (bucket * pixels)
            for pixels in self._seconds.get(kind, {})
            for bucket in self.paying(kind, pixels)[-1:]
            if (seconds := self.seconds(kind, pixels, bucket)) is not None
        ]
        return min(rates) if rates else None


def fitting(rows: int, buckets: tuple[int, ...]) -> int:
    """The smallest bucket that holds ``rows``, or the largest there is."""
    return next((bucket for bucket in buckets if bucket >= rows), buckets[-1])
