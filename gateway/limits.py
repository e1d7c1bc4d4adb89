"""How much each client may send: a bucket of events per client."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from gateway.rejections import TooManyError

# A client with many addresses must not fill the memory; an evicted one starts again.
_MOST_CLIENTS = 10_000


@dataclass(slots=True)
class _Bucket:
    events: float
    at: float


class RateLimit:
    """A token bucket per client: `burst` events at once, refilled at `per_second`.

    A request is admitted while the bucket has an event, before its body is read, and charged when
    its cost is known; so the bucket may owe, and later requests wait. Nothing is free: neither
    what is refused, nor a batch that is larger than what was left.

    Own code, because the windows of the library `limits` either know no burst or keep one entry for
    each unit, and a batch is hundreds of units.
    """

    def __init__(
        self,
        per_second: float,
        burst: float,
        clock: Callable[[], float] = time.monotonic,
        rejection: type[TooManyError] = TooManyError,
    ) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._rejection = rejection
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def admit(self, client: str, events: int) -> None:
        """Charge events that are about to come, where the client has at least one left.

        Raises:
            TooManyError: with the seconds until the same request would pass; nothing is charged.
        """
        bucket = self._refilled(client)
        if bucket.events < 1:
            raise self._rejection((1 - bucket.events) / self._per_second)
        bucket.events -= events

    def charge(self, client: str, events: int) -> None:
        """Charge more events; a negative number gives back what a request did not need."""
        bucket = self._refilled(client)
        bucket.events = min(self._burst, bucket.events - events)

    def _refilled(self, client: str) -> _Bucket:
        now = self._clock()
        bucket = self._buckets.get(client)
        if bucket is None:
            bucket = self._buckets[client] = _Bucket(self._burst, now)
            if len(self._buckets) > _MOST_CLIENTS:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(client)
        refilled = bucket.events + (now - bucket.at) * self._per_second
        bucket.events, bucket.at = min(self._burst, refilled), now
        return bucket
