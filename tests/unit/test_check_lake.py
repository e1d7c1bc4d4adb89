"""What a verification of the lake counts: answers that differ, and what maintenance came to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cli.check.answers import compare
from cli.check.upkeep import maintenance
from queries.engine import Answer
from streaming.lake.iceberg.commits import CONFLICT

pytestmark = [pytest.mark.requirement("L2"), pytest.mark.requirement("L3")]

ONE = Answer(("branch_id", "share"), (("B01", 0.5), ("B02", 1 / 3)))


def run(run_id: str, table: str, state: str = "done", **figures: Any) -> dict[str, Any]:
    """A row of quality.maintenance_runs: ten files became three."""
    row = {
        "files_before": 10,
        "files_after": 3,
        "manifests_before": 12,
        "manifests_after": 2,
        "compacted": 8,
        "snapshots_forgotten": 5,
        "files_removed": 0,
        "note": None,
    }
    return {"run_id": run_id, "table_name": table, "state": state} | row | figures


def stream(failed_batches: int = 0) -> dict[str, Any]:
    return {"ready": True, "failures": 0, "failed_batches": failed_batches}


HEALTHY = {"footfall": stream(), "order_event_processor": stream()}


def test_equal_answers_may_differ_by_the_order_of_a_sum() -> None:
    rounded = Answer(ONE.columns, (("B01", 0.5), ("B02", 1 / 3 + 1e-15)))
    assert compare({"duckdb": ONE, "spark": rounded, "trino": ONE}) is None


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (Answer(ONE.columns, (("B01", 0.5), ("B02", 0.3))), "spark and duckdb differ"),
        (Answer(ONE.columns, ONE.rows[:1]), "spark and duckdb differ"),
        (Answer(("branch_id", "part"), ONE.rows), "spark and duckdb differ"),
        ("it is away", "spark has no answer (it is away)"),
    ],
    ids=["a value", "a row less", "a column", "no answer"],
)
def test_answers_that_are_not_equal_name_the_engine(other: Answer | str, named: str) -> None:
    assert (compare({"duckdb": ONE, "spark": other, "trino": ONE}) or "").startswith(named)


def test_an_empty_answer_proves_nothing() -> None:
    empty = Answer(ONE.columns, ())
    assert compare(dict.fromkeys(("duckdb", "spark"), empty)) == "the answer of duckdb is empty"


def test_maintenance_is_summed_over_its_runs(tmp_path: Path) -> None:
    log = tmp_path / "streams.log"
    log.write_text(f"INFO {CONFLICT}: append begins anew\nINFO else\nINFO {CONFLICT}: upsert\n")
    rows = [run("one", "silver.orders"), run("two", "silver.orders", compacted=4)]
    rows.append(run("two", "gold.order_hourly", "nothing to do", compacted=0))
    assert maintenance(rows, HEALTHY, [log]) == {
        "runs": 2,
        "files_before": 20,
        "files_after": 6,
        "manifests_before": 24,
        "manifests_after": 4,
        "compacted": 12,
        "snapshots_forgotten": 10,
        "files_removed": 0,
        "conflicts": 2,
        "failed_batches": 0,
        "faults": [],
    }


def test_a_batch_that_failed_counts_although_the_next_one_succeeded() -> None:
    found = maintenance([run("one", "silver.orders")], HEALTHY | {"footfall": stream(2)}, [])
    assert found["failed_batches"] == 2
    assert found["faults"] == ["2 batches of footfall failed beside maintenance"]


def test_what_maintenance_could_not_do_is_a_fault() -> None:
    rows = [run("one", "silver.orders", "failed", note="The disk is full.")]
    assert maintenance(rows, {}, [])["faults"] == [
        "silver.orders could not be maintained: The disk is full.",
        "maintenance has joined no files",
        "the streams have not said how they are",
    ]
