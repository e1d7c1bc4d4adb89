"""The cache of recent event ids: a repeated event is answered, not produced again.

An id identifies an event and not a route: it is compared over all topics, without regard to upper
or lower case, as RFC 9562 compares UUIDs. The same event is one with the same content, however it
was serialised (`strict_json.digest`). The cache is bounded and ends with the process: it saves the
streams most repeats, while the keys downstream make the rest of them harmless.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TypeAlias

from gateway.producer import Outcome, Receipt
from gateway.rejections import ConflictError

# Plain tuples of plain values: the garbage collector need not look at a hundred thousand of them.
_Flying: TypeAlias = tuple[bytes, asyncio.Future[Outcome]]
_Landed: TypeAlias = tuple[bytes, str, int, int]


class RecentIds:
    """The last `size` ids that were sent; the oldest is evicted first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._seen: OrderedDict[str, _Flying | _Landed] = OrderedDict()

    def find(self, event_id: str, digest: bytes) -> asyncio.Future[Outcome] | Receipt | None:
        """The receipt of the same event, or its future while it is under way; None for a new one.

        What the broker did not take is not remembered.

        Raises:
            ConflictError: the id belongs to other content.
        """
        seen = self._seen.get(event_id.lower())
        if seen is None:
            return None
        if len(seen) == 2 and _failed(seen[1]):
            return None
        if seen[0] != digest:
            raise ConflictError(event_id)
        return seen[1] if len(seen) == 2 else Receipt(*seen[1:])

    def remember(self, event_id: str, digest: bytes, outcome: asyncio.Future[Outcome]) -> None:
        """Keep an event that was just sent."""
        key = event_id.lower()
        self._seen[key] = (digest, outcome)
        self._seen.move_to_end(key)  # it may have failed before, at an older place
        while len(self._seen) > self._size:
            self._seen.popitem(last=False)

    def land(self, event_id: str, outcome: asyncio.Future[Outcome], receipt: Receipt) -> None:
        """Keep the receipt in place of its future, which takes more room."""
        key = event_id.lower()
        seen = self._seen.get(key)
        if seen is not None and seen[1] is outcome:
            self._seen[key] = (seen[0], receipt.topic, receipt.partition, receipt.offset)

    def __len__(self) -> int:
        return len(self._seen)


def _failed(outcome: asyncio.Future[Outcome]) -> bool:
    if not outcome.done():
        return False
    return outcome.cancelled() or not isinstance(outcome.result(), Receipt)
