"""Labels of objects: a camera of which none means a person counts nobody."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from quality.context import AuditContext
from quality.facts import look_from, rows_of, within
from quality.suite import FactSuite, Suite, null
from streaming.lake.tables import SILVER_DETECTIONS
from streaming.transforms.silver_detections import PERSON, count_labels

LABELS = {"camera_id": pa.string(), "labels": pa.string()}


def label_suites() -> list[Suite]:
    """The suite of this module."""
    known = null(
        "labels_known",
        "A camera detects objects, and none of them has the label person.",
        "labels",
        f"a class of each camera's objects is {PERSON}",
        "warning",
    )
    return [FactSuite(SILVER_DETECTIONS.name, "labels", LABELS, load_labels, (known,), "cameras")]


def load_labels(context: AuditContext) -> Iterator[dict[str, Any]]:
    """Per camera with objects: their labels, if none of them means a person."""
    since = within(SILVER_DETECTIONS, look_from(context, SILVER_DETECTIONS))
    objects = rows_of(context, SILVER_DETECTIONS, ("camera_id", "class"), since)
    found = defaultdict[str, list[str]](list)
    for row in count_labels(objects).to_pylist():
        found[row["camera_id"]].append(row["label"])
    for camera_id, labels in found.items():
        unknown = None if PERSON in labels else ", ".join(sorted(labels))
        yield {"camera_id": camera_id, "labels": unknown}
