"""Latency in the report of `storelake check`: from the till to a reader."""

from __future__ import annotations

from datetime import timedelta

from quality.smoke_test import latency
from tests.unit.test_reconciliation import NOON, entry


def test_latency_is_from_the_till_to_the_first_reading_and_leaves_repeats_out() -> None:
    repeat = entry(1, duplicate_of="E-1", made_at=NOON - timedelta(hours=1))
    seen = {
        "E-1": NOON + timedelta(seconds=2),
        "E-2": NOON + timedelta(seconds=5),
        "E-of-others": NOON + timedelta(days=1),
    }

    found = latency([entry(1), entry(2), entry(3), repeat], seen)
    assert found == {"p50": 2.0, "p95": 2.9}
    assert latency([entry(3)], seen) == {"p50": None, "p95": None}
