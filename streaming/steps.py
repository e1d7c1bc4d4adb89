"""Steps of plans that several streams have, and restatement and backfill with them.

A step runs in Spark's tasks. The rows that it returns keep `topic`, `partition` and `position`, by
which every sink skips what it has committed (`progress`), and include rejected messages, with the
ids of the failed rules in `rules`.
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
from pyspark.sql import DataFrame

from conf.settings import Settings, StreamSettings
from conf.stores import Stores
from streaming.arrow import Transform, in_arrow
from streaming.stream import Rows, State, Step
from streaming.transforms.footfall import follow_tracks
from streaming.transforms.order_event_processor import SILVER_SCHEMA, silver_orders
from streaming.transforms.silver_detections import (
    FRAMES_SCHEMA,
    VALIDATED_SCHEMA,
    frames,
    validated_detections,
)
from streaming.transforms.tracks import Rules


def _orders(settings: Settings, stores: Stores) -> Rows:
    return silver_orders(stores, settings.streams.max_future_skew)


def _detections(settings: Settings, stores: Stores) -> Rows:
    return validated_detections(stores, settings.streams.max_future_skew)


def _frames(settings: Settings, stores: Stores) -> Rows:  # noqa: ARG001
    return frames


def _tracks(settings: Settings, stores: Stores) -> Callable[[DataFrame], DataFrame]:
    return follow_tracks(stores, track_rules(settings.streams))


VALIDATE_ORDERS = Step(_orders, SILVER_SCHEMA)
"""Messages of the order topics -> one row each, parsed, with the rules that it breaks."""

VALIDATE_DETECTIONS = Step(_detections, VALIDATED_SCHEMA)
"""Messages of the detections topics -> one row each, parsed, with the rules that it breaks."""

TO_FRAMES = Step(_frames, FRAMES_SCHEMA)
"""Validated frames -> the anchor points of the people in them."""

FOLLOW_TRACKS = State(_tracks, version=2, event_time_column="captured_at")
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


def compose(steps: tuple[Step, ...], settings: Settings, stores: Stores) -> Rows:
    """The steps one after the other, as one function of rows."""
    functions = [step.make(settings, stores) for step in steps]

    def run(rows: pa.Table) -> pa.Table:
        for function in functions:
            rows = function(rows)
        return rows

    return run


def in_tasks(steps: tuple[Step, ...], settings: Settings, stores: Stores) -> Transform:
    """The steps as one part of a plan: source rows -> rows of the last step's schema."""
    return in_arrow(compose(steps, settings, stores), steps[-1].schema)
