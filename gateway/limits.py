"""Who sends, and how much each may: a bucket of events per client."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from starlette.requests import Request

from gateway.rejections import TooManyError

# A client with many addresses must not fill the memory; an evicted one starts again.
_MOST_CLIENTS = 10_000

Identify: TypeAlias = Callable[[Request], str]


def client_address(request: Request) -> str:
    """The client of a request: its address, until clients carry keys.

    `create_app` takes another function of this shape in its place.
    """
    return request.client.host if request.client else "unknown"


@dataclass(slots=True)
class _Bucket:
    events: float
    at: float


class RateLimit:
    """A token bucket per client: `burst` events at once, refilled at `per_second`.

    Own code, because the windows of the library `limits` either know no burst or keep one entry for
    each unit, and a batch is hundreds of units.
    """

    def __init__(
        self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, client: str, events: int) -> None:
        """Take the events out of the client's bucket, all of them or none.

        Raises:
            TooManyError: with the seconds until the same request would pass.
        """
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
        if events > bucket.events:
            raise TooManyError((events - bucket.events) / self._per_second)
        bucket.events -= events
