"""Rules for detection events, with their descriptions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pyarrow.compute as pc

from streaming.validation.checks import (
    EARLIEST,
    Below,
    Between,
    Present,
    Text,
)
from streaming.validation.derived_checks import not_after, one_of_pairs
from streaming.validation.envelope import ENVELOPE_MEANINGS
from streaming.validation.rules import (
    REFUSED_MEANING,
    AnyRule,
    MessageRule,
    Rule,
    event_rules,
)


def detection_rules(
    cameras: Sequence[tuple[str, str]], max_future_skew: timedelta
) -> tuple[AnyRule, ...]:
    """The rules in the order in which quarantine lists them.

    Args:
        cameras: the known ones, each with its branch first.
        max_future_skew: how far the capture may lie after the broker's timestamp.
    """
    return (*_frame_rules(tuple(cameras), max_future_skew), *_OBJECT_RULES)


def _frame_rules(cameras: tuple[tuple[str, str], ...], skew: timedelta) -> tuple[AnyRule, ...]:
    latest = not_after("captured_at", "timestamp", skew)
    return (
        *event_rules((1,), "schema_version is not 1, the only one known."),
        Rule(
            "camera_known",
            "branch_id and camera_id name no camera of the chain.",
            (one_of_pairs("branch_id", "camera_id", cameras),),
        ),
        Rule(
            "run_id_present",
            "run_id is missing, empty or longer than 64 characters.",
            (Text("run_id"),),
        ),
        Rule(
            "frame_index_present",
            "frame_index is missing or negative.",
            (Between("frame_index", 0),),
        ),
        Rule(
            "captured_at_utc",
            "captured_at is no existing time in UTC, like 2024-05-01T10:00:00Z.",
            (Between("captured_at", EARLIEST),),
        ),
        MessageRule(
            "captured_at_not_in_future",
            "captured_at lies too far after the time of arrival.",
            "silver.detections keeps no time of arrival.",
            lambda batch: latest.good(batch.fields),
        ),
        Rule(
            "image_size_positive",
            "image has no positive width and height.",
            (Between("image_width", 1), Between("image_height", 1)),
        ),
        MessageRule(
            "detections_present",
            "detections is missing or has more than 1,000 objects.",
            "A row is one object, and an empty frame has none.",
            lambda batch: pc.less_equal(batch.fields["object_count"], 1_000),
        ),
    )


_OBJECT_RULES = (
    Rule(
        "objects_complete",
        "An object lacks its track_id or class, has a longer one than 64 characters, or has a "
        "confidence outside of 0 to 1.",
        (Text("track_id"), Text("class"), Between("confidence", 0.0, 1.0)),
        each=True,
    ),
    Rule(
        "boxes_inside_picture",
        "The box of an object is not four shares of the picture, left and top first.",
        (
            *(Between(side, 0.0, 1.0) for side in ("x1", "y1", "x2", "y2")),
            Below("x1", "x2"),
            Below("y1", "y2"),
        ),
        each=True,
    ),
    Rule(
        "runtime_present",
        "runtime lacks its detector or model.",
        (Present("detector"), Present("model")),
    ),
)

DETECTION_MEANINGS = (
    ENVELOPE_MEANINGS
    | {rule.id: rule.description for rule in detection_rules((), timedelta())}
    | REFUSED_MEANING
)
"""Rule id -> what is wrong with a message that fails it; the same in every chain."""
