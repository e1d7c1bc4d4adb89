"""Source positions that a sink has committed: repeated rows are skipped by them.

Every sink keeps, in the same commit as its rows, the newest position that it holds of each topic
partition. Rows up to there are dropped before the write. That holds whatever repeats them: a batch
that runs again, other batch boundaries after a restart, a lost checkpoint, a stream that moves from
one query to another (docs/adr/0002).
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

Progress = Mapping[tuple[str, int], str]
"""(topic, partition) -> the newest position written; positions sort as text."""


def fresh(rows: pa.Table, done: Progress) -> pa.Table:
    """The rows after the positions that are done. Columns: topic, partition, position."""
    for (topic, partition), position in done.items():
        here = pc.and_(pc.equal(rows["topic"], topic), pc.equal(rows["partition"], partition))
        old = pc.and_(here, pc.less_equal(rows["position"], position))
        rows = rows.filter(pc.invert(old))
    return rows


def advance(done: Progress, rows: pa.Table) -> dict[tuple[str, int], str]:
    """The positions that are done once these rows are also written."""
    newest = rows.group_by(["topic", "partition"]).aggregate([("position", "max")])
    after = dict(done)
    for row in newest.to_pylist():
        at = (row["topic"], row["partition"])
        after[at] = max(after.get(at, ""), row["position_max"])
    return after


def spans(rows: pa.Table) -> dict[tuple[str, int], tuple[str, str]]:
    """Topic partition -> its first and last position among the rows."""
    ends = rows.group_by(["topic", "partition"]).aggregate(
        [("position", "min"), ("position", "max")]
    )
    return {
        (r["topic"], r["partition"]): (r["position_min"], r["position_max"])
        for r in ends.to_pylist()
    }


def to_text(done: Progress) -> str:
    """As JSON: [[topic, partition, position], ...], sorted."""
    return json.dumps(sorted([topic, number, at] for (topic, number), at in done.items()))


def from_text(text: str) -> dict[tuple[str, int], str]:
    """The inverse of `to_text`."""
    return {(topic, number): at for topic, number, at in json.loads(text)}
