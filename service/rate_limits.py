"""Rates by cost: token buckets of requests and of pixels, per key and per address.

A bucket holds what may be asked for in one minute and fills evenly, so a caller may burst up to a minute's worth
and then gets the stated rate. What costs more than a whole bucket runs when the bucket is full, and the debt is
waited off. Everything happens on the event loop; there is no lock and no thread.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Literal

from service.errors import RateLimited

if TYPE_CHECKING:
    from collections.abc import Callable

Kind = Literal["requests", "pixels"]
MINUTE = 60.0
# Each is about 200 bytes; beyond them the one that was idle longest is forgotten, which can only be kind to it.
MAX_BUCKETS = 65_536


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of a rate after a request.

    Attributes:
        kind: what is counted.
        limit: per minute.
        remaining: that may be asked for at once, 0 while a debt is waited off.
        reset_s: seconds until all of ``limit`` is there again.
    """

    kind: Kind
    limit: int
    remaining: int
    reset_s: float

    def headers(self) -> dict[str, str]:
        """``x-ratelimit-*`` as OpenAI's clients read them."""
        return {
            f"x-ratelimit-limit-{self.kind}": str(self.limit),
            f"x-ratelimit-remaining-{self.kind}": str(self.remaining),
            f"x-ratelimit-reset-{self.kind}": f"{self.reset_s:.3f}s",
        }


class RateLimits:
    """Buckets by whom and what they are for.

    Args:
        clock: seconds that never go back.
        max_buckets: kept at once.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, max_buckets: int = MAX_BUCKETS
    ) -> None:
        self._clock = clock
        self._max_buckets = max_buckets
        self._buckets: OrderedDict[tuple[str, Kind], _Bucket] = OrderedDict()

    def __len__(self) -> int:
        """Buckets that are kept."""
        return len(self._buckets)

    def take(self, who: str, kind: Kind, amount: int, per_minute: int) -> Allowance:
        """Take ``amount`` from a bucket.

        Args:
            who: a key's name or an address, told apart by a prefix of the caller's.
            kind: what is counted.
            amount: 1 request, or the pixels of a job.
            per_minute: the rate, at least 1.

        Raises:
            RateLimited: with the seconds after which the same request will be let in, if nothing else is asked.
        """
        bucket = self._fill(who, kind, per_minute)
        missing = min(amount, per_minute) - bucket.tokens
        if missing > 0:
            raise _refusal(who, kind, per_minute, missing * MINUTE / per_minute)
        bucket.tokens -= amount
        return _allowance(kind, bucket, per_minute)

    def give_back(self, who: str, kind: Kind, amount: int, per_minute: int) -> None:
        """Undo a ``take`` for work that was refused for another reason."""
        bucket = self._fill(who, kind, per_minute)
        bucket.tokens = min(per_minute, bucket.tokens + amount)

    def peek(self, who: str, kind: Kind, per_minute: int) -> Allowance:
        """What is left, taking nothing."""
        return _allowance(kind, self._fill(who, kind, per_minute), per_minute)

    def _fill(self, who: str, kind: Kind, per_minute: int) -> _Bucket:
        now = self._clock()
        bucket = self._buckets.get((who, kind))
        if bucket is None:
            if len(self._buckets) >= self._max_buckets:
                self._buckets.popitem(last=False)
            bucket = self._buckets[who, kind] = _Bucket(per_minute, now)
        else:
            self._buckets.move_to_end((who, kind))
            grown = bucket.tokens + (now - bucket.filled_at) * per_minute / MINUTE
            bucket.tokens, bucket.filled_at = min(float(per_minute), grown), now
        return bucket


def address_group(host: str) -> str:
    """The address whose callers share a rate: of IPv6 the /64, as one machine owns at least that.

    Source: RFC 6177, section 2 (an end site gets more than one /64).
    """
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:  # a unix socket, or a test's client
        return host
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return f"{IPv6Address(int(address) >> 64 << 64)}/64"
    return str(address)


def _allowance(kind: Kind, bucket: _Bucket, per_minute: int) -> Allowance:
    reset_s = max(0.0, per_minute - bucket.tokens) * MINUTE / per_minute
    return Allowance(kind, per_minute, max(0, int(bucket.tokens)), reset_s)


def _refusal(who: str, kind: Kind, per_minute: int, seconds: float) -> RateLimited:
    owner = "this key" if who.startswith("key:") else "this address"
    return RateLimited(
        f"{owner} may ask for {per_minute} {kind} a minute: ask again in {seconds:.1f} s"
        + (", or for smaller pictures or fewer of them" if kind == "pixels" else ""),
        details={"retry_after_s": round(seconds + 0.0005, 3), "limit": kind, "per_minute": per_minute},
    )
