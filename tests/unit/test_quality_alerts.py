"""Metrics for the alerts on validation: failures, and their end."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from prometheus_client import generate_latest

from quality.metrics import QualityMetrics
from quality.results import Result
from quality.run import QualityRun

pytestmark = pytest.mark.requirement("Q1")


def result(**changes: Any) -> Result:
    fields: dict[str, Any] = {
        "table": "silver.orders",
        "suite": "rows",
        "name": "order_id_present",
        "kind": "expect_column_values_to_not_be_null",
        "severity": "critical",
        "state": "passed",
        "snapshot_id": 1,
        "rows": 10,
        "unexpected": 0,
        "observed": None,
        "samples": "[]",
        "says": "An order has no id.",
    }
    return Result(**fields | changes)


def served(*results: Result) -> str:
    metrics = QualityMetrics(timedelta(seconds=60))
    at = datetime(2024, 5, 1, tzinfo=timezone.utc)
    metrics.update(QualityRun("run-1", at, list(results), seconds=1.5))
    return generate_latest(metrics.registry).decode()


def test_failures_are_counted_by_table_and_severity_and_their_end_is_seen() -> None:
    broken = result(state="unreadable")
    text = served(broken, result(severity="warning"))
    name = "storelake_quality_failed_expectations"
    assert f'{name}{{severity="critical",table="silver.orders"}} 1.0' in text
    assert f'{name}{{severity="warning",table="silver.orders"}} 0.0' in text
    assert f'{name}{{severity="critical",table="silver.orders"}} 0.0' in served(result())
    assert "storelake_quality_interval_seconds 60.0" in text
