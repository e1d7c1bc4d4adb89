"""Detection events: parse, validate, one row per object. Source rows in; nothing is dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from itertools import chain, pairwise

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from conf.stores import Stores
from streaming.source import SOURCE_SCHEMA
from streaming.validation.batch import Array, Lines, ParsedBatch, only, relist
from streaming.validation.detection_rules import detection_rules
from streaming.validation.parsing import INSTANT, Int, Long, Parsed, column, instants, texts
from streaming.validation.rules import AnyRule, validate


class Detection(msgspec.Struct, gc=False):
    """An object in a frame, in a message."""

    track_id: str | None = None
    kind: str | None = msgspec.field(default=None, name="class")
    confidence: float | None = None
    bbox: list[float | None] | None = None


class Image(msgspec.Struct, gc=False):
    """The size of a frame in pixels."""

    width: Int | None = None
    height: Int | None = None


class RuntimeFields(msgspec.Struct, gc=False):
    """Detector, model and tracker that found the objects."""

    detector: str | None = None
    model: str | None = None
    tracker: str | None = None
    device: str | None = None
    inference_ms: float | None = None


class DetectionEvent(msgspec.Struct, gc=False):
    """A detection event in a message (conf/contracts)."""

    event_id: str | None = None
    schema_version: Int | None = None
    branch_id: str | None = None
    camera_id: str | None = None
    run_id: str | None = None
    frame_index: Long | None = None
    captured_at: str | None = None
    image: Image | None = None
    detections: list[Detection | None] | None = None
    runtime: RuntimeFields | None = None


PERSON = "person"
"""Label of the objects that are people, in lower case."""
SIDES = ("x1", "y1", "x2", "y2")
OBJECT = pa.struct(
    [
        *((name, pa.string()) for name in ("track_id", "class")),
        *((name, pa.float64()) for name in ("confidence", *SIDES, "anchor_x", "anchor_y")),
    ]
)
VALIDATED_SCHEMA = pa.schema(
    [
        *SOURCE_SCHEMA,
        ("rules", pa.list_(pa.string())),
        *((name, pa.string()) for name in ("event_id", "branch_id", "camera_id", "run_id")),
        ("frame_index", pa.int64()),
        ("captured_at", INSTANT),
        *((name, pa.int32()) for name in ("image_width", "image_height")),
        *((name, pa.string()) for name in ("detector", "model", "tracker")),
        ("objects", pa.list_(OBJECT)),
    ]
)
"""The message, `rules` (ids of the failed ones), the frame's columns and `objects`.

`objects` has the columns of `silver.detections` for each object; null without a list of detections.
A rejected message has only the source columns and `rules`.
"""
FRAMES_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("branch_id", "camera_id", "run_id", "frame", "topic")),
        ("partition", pa.int32()),
        ("position", pa.string()),
    ]
)
"""The anchor points of the people in a frame; in a rejected message all but the position is null.

People are objects of the class person, compared without case and surrounding space.

`frame` is JSON: index, at (capture) and arrived (at the broker), both in microseconds since
1970 in UTC, ids, xs, ys and widths of the people, whose anchor is the bottom centre of the box and
whose width is that of a body (`track`), and the ratio of the picture's width to its height. Spark
passes a text to Python in one piece, but nested columns value by value.
"""

_NO_IMAGE, _NO_RUNTIME, _NO_OBJECT, _NO_BOX = Image(), RuntimeFields(), Detection(), (None,) * 4
_decoder = msgspec.json.Decoder(DetectionEvent)
_to_json = msgspec.json.Encoder().encode


def validated_detections(
    stores: Stores, max_future_skew: timedelta
) -> Callable[[pa.Table], pa.Table]:
    """Source rows -> rows of `VALIDATED_SCHEMA`, one per message.

    Args:
        stores: with the known cameras.
        max_future_skew: how far the capture may be after the broker's timestamp.
    """
    cameras = [(b.branch_id, c.camera_id) for b in stores.branches for c in b.cameras]
    return partial(_validated, rules=detection_rules(cameras, max_future_skew))


def _validated(rows: pa.Table, rules: Sequence[AnyRule]) -> pa.Table:
    batch, failed = validate(rows, _decoder, rules, frame_message)
    seen = dict(batch.lines.fields)
    seen |= {"anchor_x": pc.divide(pc.add(seen["x1"], seen["x2"]), 2), "anchor_y": seen["y2"]}
    objects = [seen[field.name] for field in OBJECT]
    validated = {
        **{name: rows[name] for name in SOURCE_SCHEMA.names},
        **batch.fields,
        "rules": failed,
        "objects": relist(
            pa.StructArray.from_arrays(objects, fields=list(OBJECT)), batch.lines.lists
        ),
    }
    return pa.table([validated[name] for name in VALIDATED_SCHEMA.names], schema=VALIDATED_SCHEMA)


def frame_message(rows: pa.Table, parsed: Parsed[DetectionEvent]) -> ParsedBatch:
    """Source rows and their events -> columns named as in silver, for `detection_rules`."""
    events = parsed.events
    images = [event.image or _NO_IMAGE for event in events]
    runtimes = [event.runtime or _NO_RUNTIME for event in events]
    lists = column(events, "detections")
    seen = [one or _NO_OBJECT for found in lists for one in found or ()]
    # A box of another length has nulls for its sides.
    boxes = [box if box and len(box) == len(SIDES) else _NO_BOX for box in column(seen, "bbox")]
    sides = list(chain.from_iterable(boxes))
    lines = Lines.of(
        lists,
        {
            "track_id": texts(column(seen, "track_id")),
            "class": texts(column(seen, "kind")),
            "confidence": pa.array(column(seen, "confidence"), pa.float64()),
            **{n: pa.array(sides[i :: len(SIDES)], pa.float64()) for i, n in enumerate(SIDES)},
        },
    )
    return ParsedBatch(
        fields={
            "types_match": pa.array(parsed.typed),
            "schema_version": pa.array(column(events, "schema_version"), pa.int32()),
            **{
                n: texts(column(events, n))
                for n in ("event_id", "branch_id", "camera_id", "run_id")
            },
            "frame_index": pa.array(column(events, "frame_index"), pa.int64()),
            "captured_at": instants(column(events, "captured_at")),
            "image_width": pa.array(column(images, "width"), pa.int32()),
            "image_height": pa.array(column(images, "height"), pa.int32()),
            **{n: texts(column(runtimes, n)) for n in ("detector", "model", "tracker")},
            "object_count": pc.list_value_length(lines.lists),
            "timestamp": rows["timestamp"].combine_chunks(),
        },
        lines=lines,
    )


def to_silver_detections(validated: pa.Table) -> pa.Table:
    """Good rows of `VALIDATED_SCHEMA` -> rows of `silver.detections`; an empty frame has none."""
    objects = validated["objects"].combine_chunks()
    of_frame = validated.drop_columns(["objects"]).take(pc.list_parent_indices(objects))
    for name, values in zip(
        objects.type.value_type.names, pc.list_flatten(objects).flatten(), strict=True
    ):
        of_frame = of_frame.append_column(name, values)
    return of_frame


def normal_label(classes: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Labels of objects in lower case, without surrounding space."""
    return pc.utf8_lower(pc.utf8_trim_whitespace(classes))


def count_labels(objects: pa.Table) -> pa.Table:
    """Rows with `camera_id` and `class` -> camera_id, label, objects: how many have it."""
    labels = objects.select(["camera_id"]).append_column("label", normal_label(objects["class"]))
    counted = labels.group_by(["camera_id", "label"]).aggregate([([], "count_all")])
    return counted.rename_columns(["camera_id", "label", "objects"])


def frames(validated: pa.Table) -> pa.Table:
    """Rows of `VALIDATED_SCHEMA` -> rows of `FRAMES_SCHEMA`."""
    validated = validated.combine_chunks()
    good = pc.equal(pc.list_value_length(validated["rules"]), 0)
    objects = validated["objects"].combine_chunks()
    people = pc.list_flatten(objects)
    label = normal_label(pc.struct_field(people, "class"))
    is_person = pc.fill_null(pc.equal(label, PERSON), False)
    # Index of the first person of each frame among all people.
    so_far = np.concatenate(([0], np.cumsum(is_person.to_numpy(zero_copy_only=False))))
    ends = so_far[np.concatenate(([0], np.cumsum(_lengths(objects))))].tolist()
    ratios = pc.divide(
        validated["image_width"].cast("double"), validated["image_height"].cast("double")
    )
    of_frame = ratios.take(pc.list_parent_indices(objects)).combine_chunks()
    body = _body_widths(people, of_frame)
    ids, xs, ys, widths = (
        values.filter(is_person).to_numpy(zero_copy_only=False).tolist()
        for values in (
            *(pc.struct_field(people, name) for name in ("track_id", "anchor_x", "anchor_y")),
            body,
        )
    )
    per_frame = zip(
        *(
            c.to_pylist()
            for c in (
                good,
                validated["frame_index"],
                validated["captured_at"].cast("int64"),
                validated["timestamp"].cast("int64"),
                ratios,
            )
        ),
        pairwise(ends),
        strict=True,
    )
    found = [
        _to_json(
            {
                "index": index,
                "at": at,
                "arrived": seen,
                "ids": ids[a:b],
                "xs": xs[a:b],
                "ys": ys[a:b],
                "widths": widths[a:b],
                "ratio": ratio,
            }
        ).decode()
        if is_good
        else None
        for is_good, index, at, seen, ratio, (a, b) in per_frame
    ]
    run = [only(good, validated[n]) for n in ("branch_id", "camera_id", "run_id")]
    where = [validated[n] for n in ("topic", "partition", "position")]
    return pa.table([*run, texts(found), *where], schema=FRAMES_SCHEMA)


def _body_widths(objects: pa.StructArray, ratios: pa.Array) -> pa.Array:
    """Length of a body along x: the width of a box, or a third of its height if that is longer.

    Args:
        objects: with the sides of their boxes.
        ratios: of the picture's width to its height, for each object.
    """
    x1, y1, x2, y2 = (pc.struct_field(objects, side) for side in SIDES)
    height = pc.divide(pc.divide(pc.subtract(y2, y1), 3.0), ratios)
    return pc.max_element_wise(pc.round(pc.max_element_wise(pc.subtract(x2, x1), height), 4), 1e-3)


def _lengths(lists: pa.ListArray) -> Array:
    return pc.fill_null(pc.list_value_length(lists), 0)
