"""The sources of streams. Streams of one source that run together share a query and its parsing.

The rows of a source keep `topic`, `partition` and `position`, by which every sink skips what it has
committed (`progress`). They include rejected messages, with the ids of the failed rules in `rules`.
"""

from __future__ import annotations

from pyspark.sql import DataFrame

from conf.settings import Settings, StreamSettings
from conf.stores import Stores
from streaming.arrow import Transform, in_arrow
from streaming.stream import Context, Parse, SharedSource
from streaming.transforms.footfall import follow_tracks
from streaming.transforms.order_event_processor import SILVER_SCHEMA, silver_orders
from streaming.transforms.silver_detections import VALIDATED_SCHEMA, to_frames, validated_detections
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


def _cameras(settings: Settings) -> tuple[str, ...]:
    return settings.streams.detections_from


ORDER_EVENTS = SharedSource("order_events", _order_events, _validated_orders)
"""One row per message of the order topics: `order_event_processor.SILVER_SCHEMA`."""

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
