"""The memory of recent event ids: a repeated event is answered, not produced again.

An id names an event and not a route: it is compared over all topics, and without regard to letter
case, as RFC 9562 compares UUIDs. The same event is one with the same bytes, white space around it
apart. The memory is bounded and dies with the process: it spares the streams most repeats, while
the keys downstream make the rest of them harmless.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import blake2b

from gateway.producer import Outcome, Receipt
from gateway.refusals import ConflictError


@dataclass(frozen=True, slots=True)
class _Seen:
    digest: bytes
    outcome: asyncio.Future[Outcome]


class RecentIds:
    """The last `size` ids that were sent; the oldest is forgotten first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._seen: OrderedDict[str, _Seen] = OrderedDict()

    def find(self, event_id: str, body: bytes) -> asyncio.Future[Outcome] | None:
        """The outcome of the same event, perhaps still under way; None for a new one.

        What the broker did not take is not remembered.

        Raises:
            ConflictError: the id belongs to other bytes.
        """
        seen = self._seen.get(event_id.lower())
        if seen is None or _failed(seen.outcome):
            return None
        if seen.digest != _digest(body):
            raise ConflictError(event_id)
        return seen.outcome

    def remember(self, event_id: str, body: bytes, outcome: asyncio.Future[Outcome]) -> None:
        """Keep an event that was just sent."""
        key = event_id.lower()
        self._seen[key] = _Seen(_digest(body), outcome)
        self._seen.move_to_end(key)  # it may have failed before, at an older place
        while len(self._seen) > self._size:
            self._seen.popitem(last=False)

    def __len__(self) -> int:
        return len(self._seen)


def _failed(outcome: asyncio.Future[Outcome]) -> bool:
    if not outcome.done():
        return False
    return outcome.cancelled() or not isinstance(outcome.result(), Receipt)


def _digest(body: bytes) -> bytes:
    return blake2b(body.strip(b" \t\r\n"), digest_size=16).digest()
