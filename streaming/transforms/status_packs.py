"""Batches of the order status tracker: messages packed by bucket in, rows of the history out.

Pure steps of `status_tracking`: a task packs its messages, so that a bucket of orders is one row; a
bucket applies them to its state; its rows become columns. Times are microseconds since 1970 in UTC.

Messages that the sink had committed when the query started come again after a lost checkpoint, or a
crash between the sink's commit and Spark's. They only update the state: their rows are written, and
so are the alarms up to the watermark of that commit. The clock stops while they come: each batch of
the source has messages of every partition in which some wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from operator import attrgetter
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from streaming.progress import Progress, fresh
from streaming.source import HEARTBEAT
from streaming.transforms.order_buckets import BUCKETS, OrderBucket, place_of
from streaming.transforms.order_status import Event, HistoryRow, StatusRules, TrackedOrder
from streaming.transforms.quarantine import split_validated
from streaming.transforms.watermark import newest_event_time
from streaming.validation.parsing import INSTANT

PACK_SCHEMA = pa.schema([("bucket", pa.int32()), ("pack", pa.binary())])
RESTORED_SCHEMA = pa.schema([("bucket", pa.int32()), ("orders", pa.binary())])
_TEXT = pa.string()
STATUS_SCHEMA = pa.schema(
    [
        *((name, _TEXT) for name in ("event_id", "order_id", "branch_id")),
        *((name, _TEXT) for name in ("old_status", "new_status")),
        ("changed_at", INSTANT),
        ("previous_status", _TEXT),
        ("previous_changed_at", INSTANT),
        ("session_at", INSTANT),
        ("anomaly", _TEXT),
        ("overtaken", pa.bool_()),
        ("version", _TEXT),
        ("topic", _TEXT),
        ("partition", pa.int32()),
        ("position", _TEXT),
        ("timestamp", INSTANT),
        ("clock", INSTANT),
    ]
)
"""A row for each message, and for each row of the status history that is new or has changed.

The row of a message (an accepted order event, or a heartbeat) has its position and timestamp, and
no event_id. A row of the history has the columns of `HistoryRow`, and the position of a message of
its batch. `clock` is the watermark after the batch; null where all its messages were committed.
"""

_COLUMNS = (
    *("event_id", "event_type", "event_time", "order_id", "branch_id", "old_status", "status"),
    *("created_at", "version", "topic", "partition", "position", "timestamp"),
)


class Message(msgspec.Struct, array_like=True, gc=False):
    """A message of a batch.

    Attributes:
        topic, partition, position: in the source.
        timestamp: of the broker; None where it has none.
        is_new: whether the sink had not committed it when the query started.
        order_id: of the order; empty for a heartbeat.
        event: None where the message changes no status.
    """

    topic: str
    partition: int
    position: str
    timestamp: int | None
    is_new: bool
    order_id: str = ""
    event: Event | None = None


class Pack(msgspec.Struct, array_like=True):
    """What a task has read: the messages of one bucket.

    Attributes:
        messages: of the bucket.
        clock: the watermark by all new messages of the task; None without any.
        newest: one of these.
        replays: whether the task has read committed messages.
    """

    messages: list[Message]
    clock: int | None
    newest: Message | None
    replays: bool = False


class BucketOutput(msgspec.Struct, array_like=True):
    """What a bucket emits in a batch: rows of the history; the other attributes as of `Pack`."""

    messages: list[Message]
    clock: int | None
    newest: Message | None
    rows: list[HistoryRow]


encode = msgspec.msgpack.Encoder().encode
decode_pack = msgspec.msgpack.Decoder(Pack).decode
_output = msgspec.msgpack.Decoder(BucketOutput).decode
decode_orders = msgspec.msgpack.Decoder(list[tuple[str, TrackedOrder]]).decode
_source_order = attrgetter("topic", "partition", "position")


@dataclass(frozen=True)
class CommittedStart:
    """What the sink of the tracker had committed when the query started.

    Attributes:
        positions: in the source.
        watermark: committed with them; 0 before the first batch.
    """

    positions: Progress
    watermark: int


@dataclass(frozen=True)
class TrackingOptions:
    """Options of the tracker.

    Attributes:
        rules: of the state machine.
        delay: of the clock behind the newest event.
        heartbeat_delay: of the clock behind a heartbeat.
        start: what the sink had committed.
    """

    rules: StatusRules
    delay: timedelta
    heartbeat_delay: timedelta
    start: CommittedStart


def to_packs(
    tables: Iterable[pa.Table],
    validated: Callable[[pa.Table], pa.Table],
    options: TrackingOptions,
    now: datetime,
) -> pa.Table:
    """Source rows of a task -> rows of `PACK_SCHEMA`: one for each bucket, with the clock.

    `now` (UTC) bounds the clock where a message has no broker's time.
    """
    messages: list[list[Message]] = [[] for _ in range(BUCKETS)]
    clocks: list[int] = []
    newest: Message | None = None
    replays = False
    for rows in tables:
        is_heartbeat = pc.equal(rows["topic"], HEARTBEAT)
        heartbeats = rows.filter(is_heartbeat)
        good, _ = split_validated(validated(rows.filter(pc.invert(is_heartbeat))))
        events = good.select(_COLUMNS)
        new = fresh(good, options.start.positions)
        clocks += _clock(newest_event_time(new, now), options.delay)
        beats = fresh(heartbeats, options.start.positions)["timestamp"]
        clocks += _clock(pc.max(beats).as_py(), options.heartbeat_delay)
        for message in chain(_events(events), _heartbeats(heartbeats)):
            partition = (message.topic, message.partition)
            message.is_new = message.position > options.start.positions.get(partition, "")
            if message.is_new:
                newest = message
            else:
                replays = True
            messages[place_of(message.order_id)[0]].append(message)
    clock = max(clocks, default=None)
    packs = [encode(Pack(of_bucket, clock, newest, replays)) for of_bucket in messages]
    return pa.table([list(range(BUCKETS)), packs], schema=PACK_SCHEMA)


def _clock(newest: datetime | None, delay: timedelta) -> list[int]:
    """The watermark of the newest time that counts; empty without any."""
    return [pa.scalar(newest - delay, INSTANT).value] if newest else []


def _heartbeats(rows: pa.Table) -> Iterator[Message]:
    columns = (rows["topic"], rows["partition"], rows["position"], rows["timestamp"].cast("int64"))
    for topic, partition, position, at in zip(*(c.to_pylist() for c in columns), strict=True):
        yield Message(topic, partition, position, at, is_new=True)


def _events(rows: pa.Table) -> Iterator[Message]:
    """One message per accepted order event; `order.updated` changes no status."""
    for name in ("event_time", "created_at", "timestamp"):
        at = rows.schema.get_field_index(name)
        rows = rows.set_column(at, name, rows[name].cast("int64"))
    for (
        event_id, kind, at, order_id, branch_id, old, status, created_at, version,
        topic, partition, position, timestamp,
    ) in zip(*(rows[name].to_pylist() for name in _COLUMNS), strict=True):  # fmt: skip
        event = None
        if kind != "order.updated":
            since = created_at if kind == "order.created" else None
            event = Event(event_id, version, at, branch_id, status, old, since)
        yield Message(topic, partition, position, timestamp, True, order_id, event)


def process(packs: list[Pack], bucket: OrderBucket, watermark: int) -> BucketOutput:
    """The batch of one bucket.

    Args:
        packs: one per task.
        bucket: its state, which is updated.
        watermark: that the sink had committed when the query started.
    """
    messages = sorted(chain.from_iterable(p.messages for p in packs), key=_source_order)
    bucket.clock = max(bucket.clock, watermark)
    bucket.receive((m.order_id, m.event) for m in messages if m.event and not m.is_new)
    clocks = [p.clock for p in packs if p.clock is not None]
    if not clocks:
        return BucketOutput(messages, None, None, [])
    is_held = any(p.replays for p in packs)
    if not is_held:
        bucket.advance(watermark)  # its alarms are written
    rows = bucket.receive((m.order_id, m.event) for m in messages if m.event and m.is_new)
    if not is_held:
        rows += bucket.advance(max(clocks))
    newest = next(p.newest for p in packs if p.newest)
    return BucketOutput(messages, bucket.clock, newest, rows)


def unpack(outputs: pa.Table) -> pa.Table:
    """Column `output`, each a `BucketOutput` -> rows of `STATUS_SCHEMA`."""
    rows: list[tuple[Any, ...]] = []
    no_row = (None,) * len(HistoryRow._fields)
    for output in map(_output, outputs["output"].to_pylist()):
        at = output.newest
        if at is not None:
            place = (at.topic, at.partition, at.position, None, output.clock)
            rows += [(*row, *place) for row in output.rows]
        for m in output.messages:
            rows.append((*no_row, m.topic, m.partition, m.position, m.timestamp, output.clock))
    columns: list[Any] = list(zip(*rows, strict=True)) if rows else [()] * len(STATUS_SCHEMA)
    return pa.table(
        [pa.array(c, f.type) for c, f in zip(columns, STATUS_SCHEMA, strict=True)],
        schema=STATUS_SCHEMA,
    )
