"""Detection events, validated: a frame is good, empty or not, or has the rules it failed."""

from __future__ import annotations

import json
import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from conf.stores import Stores
from streaming.lake.tables import SILVER_DETECTIONS
from streaming.transforms.quarantine import split_validated
from streaming.transforms.silver_detections import (
    frames,
    to_silver_detections,
    validated_detections,
)
from tests.support.builders import as_json, detection, detection_event
from tests.support.messages import Sent, cases, read_case, to_rows

JOB = "silver_detections"
SKEW = timedelta(minutes=10)


def process(stores: Stores, messages: list[Sent]) -> pa.Table:
    """One row per message, in their order."""
    return validated_detections(stores, SKEW)(to_rows("detections", messages))


def outcome(rows: pa.Table) -> list[dict[str, Any]]:
    """The rows in the form of `then.json`: of a good frame, its objects in silver."""
    found: list[dict[str, Any]] = []
    for number in range(rows.num_rows):
        row = rows.slice(number, 1)
        (rules,) = row["rules"].to_pylist()
        if rules:
            found.append({"rules": rules})
        else:
            columns = ["frame_index", "track_id", "class", "anchor_x", "anchor_y"]
            found.append({"silver": to_silver_detections(row).select(columns).to_pylist()})
    return found


@pytest.mark.parametrize("case", cases(JOB), ids=lambda p: p.name)
def test_frames_become_what_the_scenario_expects(stores: Stores, case: Path) -> None:
    about, messages, then = read_case(case)
    found = outcome(process(stores, messages))
    assert dict(zip(about, found, strict=True)) == dict(zip(about, then, strict=True))


def test_silver_has_the_columns_of_its_table(stores: Stores) -> None:
    good, _ = split_validated(process(stores, [Sent(as_json(detection_event()))]))
    names = [column.name for column in SILVER_DETECTIONS.fields]
    (row,) = to_silver_detections(good).select(names).to_pylist()
    assert [name for name in names if row[name] is None] == []


def test_a_thousand_objects_are_a_frame_and_one_more_is_not(stores: Stores) -> None:
    crowd = [detection(track_id=str(n)) for n in range(1_001)]
    events = [detection_event(detections=crowd[:1_000]), detection_event(detections=crowd)]
    rows = process(stores, [Sent(as_json(e)) for e in events])
    assert rows["rules"].to_pylist() == [[], ["detections_present"]]


def test_a_frame_has_the_feet_of_its_people_and_of_nothing_else(stores: Stores) -> None:
    seen = [
        detection(track_id="1", bbox=[0.25, 0.25, 0.75, 0.5]),
        detection(track_id="2", **{"class": "cart"}),
    ]
    messages = [Sent(as_json(detection_event(detections=d))) for d in (seen, [], seen[1:])]
    messages.append(Sent(b"broken"))
    found = frames(process(stores, messages))
    seen_frames = [json.loads(text) for text in found["frame"].to_pylist() if text]
    people = [(f["ids"], f["xs"], f["ys"]) for f in seen_frames]
    assert people == [(["1"], [0.5], [0.5]), ([], [], []), ([], [], [])]
    assert found["branch_id"].to_pylist() == ["B01", "B01", "B01", None]


# Each example is a whole batch: shrinking it costs more than it shows.
@settings(
    max_examples=20,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(seed=st.integers(0, 2**32))
def test_any_message_is_good_or_rejected_and_nothing_raises(stores: Stores, seed: int) -> None:
    chance = random.Random(seed)
    whole = as_json(detection_event())
    literals = [b"NaN", b"null", b"1e999999999", b"-1", b"[", b'"', b"{}", b"\xff", b"\\u0000"]

    def broken() -> bytes:
        at, end = sorted(chance.choices(range(len(whole)), k=2))
        middle = chance.choice([b"", chance.choice(literals), chance.randbytes(1)])
        return whole[:at] + middle + whole[chance.choice([at, at + 1, end]) :]

    messages = [Sent(broken()) for _ in range(300)] + [Sent(whole)]
    good, rejected = split_validated(process(stores, messages))

    assert good.num_rows + rejected.num_rows == len(messages)
    assert good.num_rows >= 1
    assert rejected.num_rows > 0
    objects = to_silver_detections(good)
    assert pc.all(pc.less(objects["x1"], objects["x2"])).as_py() is True
    for value in good["value"].to_pylist():
        assert isinstance(json.loads(value), dict)
