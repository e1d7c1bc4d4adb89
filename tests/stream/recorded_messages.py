"""The messages of the recorded day: 1 May 2024 (UTC) of the demo's chain, and what came after it.

Three branches sell around the clock, and two cameras film from 10:00. Tills send events twice,
late, far too late and in the wrong order; every scenario of `tests/scenarios` arrives at 10:00.
Messages arrive in the micro-batches that `CUTS` separates. Late events and alarms
are hours away from their limits, since a stream may split such a batch further.
"""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any
from zlib import crc32

from conf.contracts.topics import event_topics
from conf.settings import Settings
from conf.stores import Stores, load_stores
from simulator.history import Span, frame_history, order_history
from streaming.dlq_ids import ORIGIN_HEADER, dead_letter_id
from streaming.source import UNREADABLE_HEADER
from streaming.validation.envelope import MAX_VALUE_BYTES
from tests.support.builders import as_json, event_id, order_event, order_item, status_event
from tests.support.camera_scenes import TEN, scene, steps, together, way
from tests.support.messages import cases, read_case
from tests.support.recorded_day import Message

START = datetime(2024, 5, 1, tzinfo=timezone.utc)
DAY = Span(START, START + timedelta(days=1))
FILMED = Span(TEN, TEN + timedelta(minutes=15))
CUTS = [
    START + timedelta(hours=6),
    TEN + timedelta(seconds=5),  # in the middle of a walk
    *(START + timedelta(hours=hours) for hours in (14, 19, 24, 36, 48)),
]
ORDERS_AN_HOUR, MOST_LINES = 8.0, 6
REFUSED = "O-refused"
"""The order whose events `orders_raw` refuses."""


def recorded_messages(settings: Settings) -> list[list[Message]]:
    """The messages of each micro-batch, in the order of arrival."""
    stores = load_stores(settings.stores_file)
    topics = event_topics(settings.kafka)
    messages = [
        _message(topics[event["event_type"]], event, event["order"]["order_id"], at)
        for at, event in (*_sales(stores), *_exceptions(), *_openings())
    ]
    messages += [
        _message(settings.kafka.detections, frame, frame["camera_id"], at)
        for at, frame in _frames(stores)
    ]
    messages += _redriven(topics["order.updated"])
    messages += _unreadable(topics["order.updated"], settings.kafka.detections)
    messages += _scenarios("order_event_processor", topics["order.created"])
    messages += _scenarios("silver_detections", settings.kafka.detections)
    batches: list[list[Message]] = [[] for _ in range(len(CUTS) + 1)]
    for message in sorted(messages, key=lambda m: m.timestamp):
        batches[bisect(CUTS, message.timestamp)].append(message)
    return batches


def _message(topic: str, event: dict[str, Any], key: str, at: datetime) -> Message:
    return Message(topic, crc32(key.encode()) % 2, key.encode(), as_json(event), at)


def _scenarios(job: str, topic: str) -> Iterator[Message]:
    """Every message of every scenario of a job."""
    for case in cases(job):
        for sent in read_case(case)[1]:
            yield Message(topic, 0, sent.key, sent.value, sent.timestamp)


def _redriven(topic: str) -> Iterator[Message]:
    """The first message of a partition is rejected; corrected ones come back with its id."""
    broken, whole = as_json(_order("O-mended", 0, total_price=-1)), as_json(_order("O-mended", 0))
    yield Message(topic, 0, b"O-mended", broken, START, (("till", b"\xff7"),))
    first = dead_letter_id(topic, 0, f"{0:020d}").encode()
    for hours, value in ((16, b"{"), (20, whole)):
        at = START + timedelta(hours=hours)
        yield Message(topic, 0, b"O-mended", value, at, ((ORIGIN_HEADER, first),))


def _unreadable(*topics: str) -> Iterator[Message]:
    """Messages whose bytes or headers cannot be read."""
    values = (b"\xff", b'{"event_id": "\\u0000"}', b" " * (MAX_VALUE_BYTES + 1))
    at, marked = START + timedelta(hours=9), ((UNREADABLE_HEADER, b""),)
    for topic in topics:
        yield Message(topic, 1, None, b"{}", at, marked)  # as the Kafka source marks it
        for value in values:
            yield Message(topic, 1, None, value, at)


Arrival = tuple[datetime, dict[str, Any]]
"""When an event reaches the broker, and the event."""


def _sales(stores: Stores) -> Iterator[Arrival]:
    """Real baskets. Some events come twice, some late, and some hours after their hour is over."""
    rng = random.Random(17)
    branches, mean = stores.branches, ORDERS_AN_HOUR
    history = list(order_history(branches, DAY, mean=mean, seed=17, run_id="recorded"))
    large = {e.order_id for e in history if len(e.document["order"].get("items", ())) > MOST_LINES}
    for number, event in enumerate(e for e in history if e.order_id not in large):
        minutes = rng.uniform(1, 30) if number % 11 == 0 else 540 if number % 97 == 0 else 0
        at = event.event_time + timedelta(minutes=minutes)
        yield at, event.document
        if number % 17 == 0:
            yield at + timedelta(seconds=1), event.document
        if number % 151 == 0:
            yield at + timedelta(hours=26), event.document


def _at(hours: float) -> str:
    return f"{START + timedelta(hours=hours):%Y-%m-%dT%H:%M:%S.%fZ}"


def _order(name: str, hours: float, **fields: Any) -> dict[str, Any]:
    """An order event; `hours` since the start of the day."""
    at = {"created_at": _at(fields.pop("created", hours)), "event_time": _at(hours)}
    return order_event(order_id=name, event_id=event_id(f"{name}@{hours}"), **at, **fields)


def _change(name: str, hours: float, old: str, new: str) -> dict[str, Any]:
    return status_event(
        order_id=name,
        event_id=event_id(f"{name}@{hours}"),
        event_time=_at(hours),
        old_status=old,
        new_status=new,
    )


def _exceptions() -> Iterator[Arrival]:
    """Orders with a life of their own; each event arrives when it happens, or later."""
    events = [
        _order("O-unfinished", 6.5),
        _order("O-withdrawn", 5.0),  # the alarm of the next morning is withdrawn in the afternoon
        (38.0, _change("O-withdrawn", 11.0, "pending", "processing")),
        _order("O-repeats", 7.0),
        _change("O-repeats", 7.1, "pending", "processing"),
        _change("O-repeats", 7.2, "pending", "processing"),
        _change("O-repeats", 7.9, "processing", "completed"),
        _change("O-repeats", 8.0, "completed", "processing"),
        _order("O-shuffled", 12.0),
        _change("O-shuffled", 12.4, "processing", "completed"),
        (14.5, _change("O-shuffled", 12.2, "pending", "processing")),
        _change("O-unknown", 13.0, "pending", "processing"),
        _order("O-moved", 13.2),
        _order(
            *("O-moved", 13.4),
            created=12.9,
            event_type="order.updated",
            branch_id="B02",
            payment_method="online",
            items=[order_item(quantity=3), order_item(product_id="P-2", unit_price=0.99)],
        ),
        _order("O-called-off", 13.5),
        _order("O-called-off", 13.6, event_type="order.cancelled", status="cancelled"),
        (15.0, _order("O-called-off", 13.55, event_type="order.updated")),
        _order("O-web", 15.0, schema_version=2, channel="web"),
        _order(REFUSED, 15.5),
        _change(REFUSED, 15.6, "pending", "completed"),
    ]
    for entry in events:
        hours, event = entry if isinstance(entry, tuple) else (None, entry)
        yield datetime.fromisoformat(_at(hours) if hours else event["event_time"]), event


def _openings() -> Iterator[Arrival]:
    """Later orders of each branch, which move the watermark past alarms and open hours."""
    for hours in (33.0, 47.0, 108.0):
        for branch in ("B01", "B02", "B03"):
            order = f"O-{branch}-{hours:.0f}"
            fields = {"branch_id": branch, "source": f"pos-{branch}"}
            yield START + timedelta(hours=hours), _order(order, hours, **fields)
            done = _change(order, hours + 0.1, "pending", "completed")
            done["order"]["branch_id"], done["source"] = branch, f"pos-{branch}"
            yield START + timedelta(hours=hours + 0.1), done


def _frames(stores: Stores) -> Iterator[Arrival]:
    """B02-entrance for a quarter of an hour; crowds of B01-entrance at 10:00 and at 10:05."""
    for frame in frame_history(stores, FILMED, run_id="recorded"):
        if frame["camera_id"] == "B02-entrance":
            yield datetime.fromisoformat(frame["captured_at"]), frame
    for run_id, minutes in (("morning", 0), ("restarted", 5)):
        for frame in scene(*_crowd(), run_id=run_id):
            captured = datetime.fromisoformat(frame["captured_at"]) + timedelta(minutes=minutes)
            frame["captured_at"] = f"{captured:%Y-%m-%dT%H:%M:%S.%fZ}"
            index = frame["frame_index"]
            # Neighbours change places, and one frame comes when its place in the run has passed.
            delay = 8 if index == 21 else 0.3 if index % 7 == 0 else 0
            yield captured + timedelta(seconds=delay), frame
            if index % 5 == 0:
                yield captured + timedelta(seconds=delay + 0.1), frame


def _crowd() -> list[list[Any]]:
    """Anna walks in, Ben walks out, Carl queues, Dora's track is lost for a moment; then nobody."""
    lost = [*way("dora", *steps(0.4, 0.6, 15), y=0.7), [], [], []]
    return together(
        way("anna", *steps(0.4, 0.9, 30)),
        way("ben", *steps(0.9, 0.4, 40), y=0.75),
        way("carl", *[0.45] * 50, y=0.4),
        [*lost, *way("dora-2", *steps(0.64, 0.85, 15), y=0.7)],
        [[]] * 75,
    )
