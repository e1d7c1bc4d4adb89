"""What streams read. Streams of one feed that run together share one query: read once, parsed once.

A feed's rows keep `topic`, `partition`, `position`, by which every sink knows what it has already
(`progress`). Rejected messages stay in, with the ids of the failed rules in `rules`.
"""

from __future__ import annotations

from collections.abc import Callable

from pyspark.sql import DataFrame

from conf.settings import Settings, StreamSettings
from conf.stores import Stores
from streaming.runner import Context, Feed
from streaming.transforms.footfall import follow_tracks
from streaming.transforms.order_event_processor import judge_order_events, to_silver_orders
from streaming.transforms.silver_detections import judge_detections, to_frames, with_objects
from streaming.transforms.tracks import Rules

Transform = Callable[[DataFrame], DataFrame]


def track_rules(limits: StreamSettings) -> Rules:
    """What the settings say about tracks."""
    return Rules(
        confirm=limits.track_confirm_frames,
        grace=limits.zone_grace,
        handover=limits.track_handover,
        delay=limits.frame_delay,
        forget=limits.track_ttl,
    )


def to_order_events(stores: Stores, limits: StreamSettings) -> Transform:
    """Source rows -> rows of `ORDER_EVENTS`, also from bronze."""

    def apply(rows: DataFrame) -> DataFrame:
        judge = judge_order_events(stores, limits.max_future_skew)
        return rows.transform(judge).transform(to_silver_orders(stores))

    return apply


def to_detections(stores: Stores, limits: StreamSettings) -> Transform:
    """Source rows -> rows of `DETECTIONS`, also from bronze."""

    def apply(rows: DataFrame) -> DataFrame:
        judge = judge_detections(stores, limits.max_future_skew)
        return rows.transform(judge).transform(with_objects)

    return apply


def _order_events(context: Context, group: str) -> DataFrame:
    rows = context.read_topics(group, *context.settings.kafka.order_topics)
    return rows.transform(to_order_events(context.stores, context.settings.streams))


def _detections(context: Context, group: str) -> DataFrame:
    rows = context.read_detections(group)
    return rows.transform(to_detections(context.stores, context.settings.streams))


def _crossings(context: Context, group: str) -> DataFrame:
    limits = context.settings.streams
    follow = follow_tracks(context.stores, track_rules(limits), limits.track_ttl)
    judge = judge_detections(context.stores, limits.max_future_skew)
    frames = context.read_detections(group).transform(judge).transform(to_frames)
    return frames.transform(follow)


def _cameras(settings: Settings) -> tuple[str, ...]:
    return settings.streams.detections_from


ORDER_EVENTS = Feed("order_events", _order_events)
"""One row per message of the order topics: `to_silver_orders`."""

DETECTIONS = Feed("detections", _detections, pace=20, brokers=_cameras)
"""One row per message of the detections topics (a frame): `with_objects`."""

CROSSINGS = Feed("crossings", _crossings, output_mode="update", pace=8, brokers=_cameras)
"""One row per message of a good frame: `footfall.OUTPUT_DDL`. Stateful."""
