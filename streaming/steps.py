"""Steps of plans that several streams have, and restatement and backfill with them.

A step runs in Spark's tasks. The rows that it returns keep `topic`, `partition` and `position`, by
which every sink skips what it has committed (`progress`), and include rejected messages, with the
ids of the failed rules in `rules`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from functools import lru_cache, partial

import pyarrow as pa

from conf.settings import Settings, StreamSettings
from conf.stores import Stores
from streaming.arrow import Transform, in_arrow
from streaming.sinks.order_ids import identify
from streaming.sinks.order_status_restore import committed_start, restore
from streaming.sinks.postgres import Database
from streaming.source import unpacked
from streaming.stream import Context, PlanStep, Rows, State
from streaming.transforms.footfall import follow_tracks
from streaming.transforms.order_event_processor import SILVER_SCHEMA, silver_orders
from streaming.transforms.order_status import StatusRules
from streaming.transforms.silver_detections import (
    FRAMES_SCHEMA,
    VALIDATED_SCHEMA,
    frames,
    validated_detections,
)
from streaming.transforms.status_packs import TrackingOptions
from streaming.transforms.status_tracking import track_status
from streaming.transforms.tracks import Rules


def _orders(settings: Settings, stores: Stores) -> Rows:
    return silver_orders(stores, settings.streams.max_future_skew)


def _identify(settings: Settings, stores: Stores, *, claim: bool = True) -> Rows:  # noqa: ARG001
    def run(rows: pa.Table) -> pa.Table:
        with _database(settings.postgres.dsn).transaction() as connection:
            return identify(connection, rows, claim=claim)

    return run


@lru_cache(maxsize=2)
def _database(dsn: str) -> Database:
    """One connection a worker process."""
    return Database(dsn, 1)


def _detections(settings: Settings, stores: Stores) -> Rows:
    return validated_detections(stores, settings.streams.max_future_skew)


def _frames(settings: Settings, stores: Stores) -> Rows:  # noqa: ARG001
    return frames


def _tracks(context: Context, steps: Rows) -> Transform:
    frames = in_arrow(lambda packs: steps(unpacked(packs)), FRAMES_SCHEMA)
    follow = follow_tracks(context.stores, track_rules(context.settings.streams))
    return lambda rows: rows.transform(frames).transform(follow)


def _status(context: Context, steps: Rows) -> Transform:
    limits, dsn = context.settings.streams, context.settings.postgres.dsn
    heartbeat = timedelta(seconds=limits.heartbeat_seconds)
    options = TrackingOptions(
        rules=status_rules(limits),
        delay=limits.watermark,
        # A silent log has been silent for one heartbeat, and the next one takes as long.
        heartbeat_delay=max(limits.watermark - 2 * heartbeat, timedelta()),
        start=committed_start(dsn),
    )
    keep = limits.status_stuck_after + limits.status_keep_stuck

    def read_state(_: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield from restore(dsn, keep).to_batches()

    restored = context.spark.range(1, numPartitions=1).mapInArrow(
        read_state, "bucket int, orders binary"
    )
    return track_status(steps, options, restored)


VALIDATE_ORDERS = PlanStep(_orders, SILVER_SCHEMA)
"""Messages of the order topics -> one row each, parsed, with the rules that it breaks."""

IDENTIFY_ORDERS = PlanStep(_identify, SILVER_SCHEMA)
"""Validated messages -> the same, with a rule where an order_id belongs to another order."""

RECALL_ORDERS = PlanStep(partial(_identify, claim=False), SILVER_SCHEMA)
"""The same by what the streams have claimed, for a recomputation: it claims no id itself."""

VALIDATE_DETECTIONS = PlanStep(_detections, VALIDATED_SCHEMA)
"""Messages of the detections topics -> one row each, parsed, with the rules that it breaks."""

TO_FRAMES = PlanStep(_frames, FRAMES_SCHEMA)
"""Validated frames -> the anchor points of the people in them."""

TRACK_STATUS = State(_status, version=1, event_time_column="timestamp")
"""Messages of the order topics -> one row each, and for each changed row of the status history:
`status_packs.STATUS_SCHEMA`."""

FOLLOW_TRACKS = State(_tracks, version=3, event_time_column="captured_at")
"""Frames -> crossings, visits and queues of each camera: `footfall.OUTPUT_DDL`."""


def track_rules(limits: StreamSettings) -> Rules:
    """The rules for tracks, from the settings."""
    return Rules(
        confirm=limits.track_confirm_frames,
        grace=limits.zone_grace,
        handover=limits.track_handover,
        delay=limits.frame_delay,
        expire=limits.track_ttl,
    )


def status_rules(limits: StreamSettings) -> StatusRules:
    """The rules for the status of orders, from the settings."""
    durations = (
        limits.status_stuck_after,
        limits.status_session_gap,
        limits.status_keep_terminal,
        limits.status_keep_stuck,
    )
    return StatusRules(*(one // timedelta(microseconds=1) for one in durations))


def compose(steps: tuple[PlanStep, ...], settings: Settings, stores: Stores) -> Rows:
    """The steps one after the other, as one function of rows."""
    functions = [step.make(settings, stores) for step in steps]

    def run(rows: pa.Table) -> pa.Table:
        for function in functions:
            rows = function(rows)
        return rows

    return run


def in_tasks(steps: tuple[PlanStep, ...], settings: Settings, stores: Stores) -> Transform:
    """The steps as one part of a plan: source rows -> rows of the last step's schema."""
    return in_arrow(compose(steps, settings, stores), steps[-1].schema)
