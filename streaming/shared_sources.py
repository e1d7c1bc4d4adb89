"""The sources of streams. Streams of one source that run together share a query and its parsing.

The rows of a source keep `topic`, `partition` and `position`, by which every sink skips what it has
committed (`progress`). They include rejected messages, with the ids of the failed rules in `rules`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta

import pyarrow as pa
from pyspark.sql import DataFrame

from conf.settings import Settings, StreamSettings
from conf.stores import Stores
from streaming.arrow import Transform, in_arrow
from streaming.sinks.order_status_restore import committed_start, restore
from streaming.stream import Context, Parse, SharedSource
from streaming.transforms.footfall import follow_tracks
from streaming.transforms.order_event_processor import SILVER_SCHEMA, silver_orders
from streaming.transforms.order_status import StatusRules
from streaming.transforms.silver_detections import VALIDATED_SCHEMA, to_frames, validated_detections
from streaming.transforms.status_packs import TrackingOptions
from streaming.transforms.status_tracking import track_status
from streaming.transforms.tracks import Rules


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


def to_order_events(stores: Stores, limits: StreamSettings) -> Transform:
    """Source rows -> rows of `ORDER_EVENTS`, as a step of a plan that reads bronze."""
    return in_arrow(silver_orders(stores, limits.max_future_skew), SILVER_SCHEMA)


def to_detections(stores: Stores, limits: StreamSettings) -> Transform:
    """Source rows -> rows of `DETECTIONS`, as a step of a plan that reads bronze."""
    return in_arrow(validated_detections(stores, limits.max_future_skew), VALIDATED_SCHEMA)


def _order_events(context: Context, group: str) -> DataFrame:
    return context.read_topics(group, *context.settings.kafka.order_topics)


def _validated_orders(context: Context) -> Parse:
    return silver_orders(context.stores, context.settings.streams.max_future_skew)


def _detections(context: Context, group: str) -> DataFrame:
    return context.read_detections(group)


def _validated_detections(context: Context) -> Parse:
    return validated_detections(context.stores, context.settings.streams.max_future_skew)


def _crossings(context: Context, group: str) -> DataFrame:
    limits = context.settings.streams
    follow = follow_tracks(context.stores, track_rules(limits))
    frames = to_frames(context.stores, limits.max_future_skew)
    return context.read_detections(group).transform(frames).transform(follow)


def _order_status(context: Context, group: str) -> DataFrame:
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
    topics = context.settings.kafka.order_topics
    rows = context.read_topics(group, *topics, heartbeatSeconds=str(limits.heartbeat_seconds))
    return rows.transform(track_status(_validated_orders(context), options, restored))


def _cameras(settings: Settings) -> tuple[str, ...]:
    return settings.streams.detections_from


ORDER_EVENTS = SharedSource("order_events", _order_events, _validated_orders)
"""One row per message of the order topics: `order_event_processor.SILVER_SCHEMA`."""

ORDER_STATUS = SharedSource("order_status", _order_status, output_mode="update")
"""One row per accepted order event or heartbeat, and per changed row of the status history:
`status_packs.STATUS_SCHEMA`. Stateful."""

DETECTIONS = SharedSource(
    "detections", _detections, _validated_detections, trigger_multiple=20, brokers=_cameras
)
"""One row per message of the detections topics (a frame): `silver_detections.VALIDATED_SCHEMA`."""

CROSSINGS = SharedSource(
    "crossings",
    _crossings,
    output_mode="update",
    event_time_column="captured_at",
    trigger_multiple=4,
    state_version=2,
    brokers=_cameras,
)
"""One row per message of a good frame: `footfall.OUTPUT_DDL`. Stateful."""
