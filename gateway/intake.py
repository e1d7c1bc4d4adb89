"""From checked events to the broker: repeats answered, messages sent, acknowledgements awaited."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from gateway.events import CheckedEvent
from gateway.metrics import GatewayMetrics
from gateway.producer import Outcome, OutgoingMessage, Publisher, Receipt
from gateway.recent import RecentIds
from gateway.rejections import ConflictError, RejectionError, UnavailableError

Headers: TypeAlias = tuple[tuple[str, bytes], ...]


# An event, its receipt or the future of it, and whether it was sent before this request.
_Sent: TypeAlias = tuple[CheckedEvent, asyncio.Future[Outcome] | Receipt, bool]


@dataclass(frozen=True, slots=True)
class Taken:
    """An event that the broker has; `repeated` when it had it before this request."""

    event_id: str
    receipt: Receipt
    repeated: bool


class Intake:
    """One for the whole application: it is what all routes share."""

    def __init__(self, publisher: Publisher, recent: RecentIds, metrics: GatewayMetrics) -> None:
        self._publisher = publisher
        self._recent = recent
        self._metrics = metrics

    async def take(
        self, events: Sequence[CheckedEvent | RejectionError], topic: str, headers: Headers
    ) -> list[Taken | RejectionError]:
        """Send the events to `topic` together; returns the outcome of each, in their order.

        Events of one order keep their order: after one that the broker's client would not queue,
        the later ones of that order are refused as well, so that repeating all of them is right.
        Rejections among `events` are returned as they are.
        """
        started = time.perf_counter()
        sent: list[_Sent | RejectionError] = []
        halted: set[str] = set()
        for event in events:
            if isinstance(event, RejectionError):
                sent.append(event)
            elif event.order_id in halted:
                sent.append(
                    _rejection_of(event, UnavailableError("an earlier event of its order waits"))
                )
            else:
                sent.append(self._send(event, topic, headers, halted))
        results = [
            entry if isinstance(entry, RejectionError) else await self._result(*entry)
            for entry in sent
        ]
        self._count(events, results, topic, time.perf_counter() - started)
        return results

    def _send(
        self, event: CheckedEvent, topic: str, headers: Headers, halted: set[str]
    ) -> _Sent | RejectionError:
        try:
            known = self._recent.find(event.event_id, event.digest)
        except ConflictError as conflict:
            return conflict
        if known is not None:
            return event, known, True
        message = OutgoingMessage(topic, event.order_id.encode(), event.body, headers)
        outcome = self._publisher.send(message)
        if outcome.done() and isinstance(outcome.result(), UnavailableError):
            halted.add(event.order_id)
        self._recent.remember(event.event_id, event.digest, outcome)
        return event, outcome, False

    async def _result(
        self, event: CheckedEvent, sent: asyncio.Future[Outcome] | Receipt, repeated: bool
    ) -> Taken | RejectionError:
        if isinstance(sent, Receipt):
            return Taken(event.event_id, sent, repeated)
        # Shielded: a caller that gives up must not cancel the answer of one who repeats.
        outcome = sent.result() if sent.done() else await asyncio.shield(sent)
        if not isinstance(outcome, Receipt):
            return _rejection_of(event, outcome)
        if not repeated:
            self._recent.land(event.event_id, sent, outcome)
        return Taken(event.event_id, outcome, repeated)

    def _count(
        self,
        events: Sequence[CheckedEvent | RejectionError],
        results: Sequence[Taken | RejectionError],
        topic: str,
        seconds: float,
    ) -> None:
        outcomes: defaultdict[str, int] = defaultdict(int)
        size = 0
        for event, result in zip(events, results, strict=True):
            if isinstance(result, RejectionError):
                outcomes[result.error] += 1
            elif result.repeated:
                outcomes["repeated"] += 1
            elif isinstance(event, CheckedEvent):
                outcomes["accepted"] += 1
                size += len(event.body)
        for outcome, count in outcomes.items():
            self._metrics.events(topic, outcome, count)
        if "accepted" in outcomes:
            self._metrics.bytes_accepted(topic, size)
            self._metrics.ack_seconds.observe(seconds)


def _rejection_of(event: CheckedEvent, rejection: RejectionError) -> RejectionError:
    """The rejection as one of this event: a shared one may belong to several."""
    own = type(rejection)(*rejection.args)
    own.event_id = event.event_id
    return own
