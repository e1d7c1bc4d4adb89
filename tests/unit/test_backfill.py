"""What cannot be backfilled gets one sentence, before anything starts."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from conf.settings import load_settings
from quality.backfill import check_window, find_table
from streaming.backfill import SOURCES, BackfillError
from streaming.tables import SILVER_DETECTIONS, SILVER_ORDERS, TABLES

pytestmark = pytest.mark.requirement("L4")

TEN = datetime(2024, 5, 1, 10, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("silver.nothing", r"The lake has no table silver\.nothing; these can be"),
        ("bronze.order_events", "is what backfills are made from: replay its topic instead"),
        ("gold.order_hourly", "copy of order_metrics in Postgres, which `storelake restate` comp"),
        ("quarantine.late_events", r"does not follow from bronze alone; .* silver\.orders"),
        ("quality.validation_results", "does not follow from bronze alone"),
    ],
)
def test_a_table_that_cannot_be_backfilled_is_told_why(name: str, says: str) -> None:
    with pytest.raises(BackfillError, match=says):
        find_table(name)


def test_every_table_that_a_stream_appends_to_has_a_source_or_a_reason() -> None:
    appended = {t.name for t in TABLES if t.strategy == "append" and "quality" not in t.name}
    assert appended - SOURCES.keys() == {
        "bronze.order_events",
        "bronze.detections",
        "quarantine.late_events",
    }


@pytest.mark.parametrize(
    ("start", "end"),
    [(TEN, TEN), (TEN, TEN - timedelta(hours=1)), (TEN.replace(tzinfo=None), TEN)],
)
def test_a_window_needs_an_earlier_and_a_later_end_in_a_time_zone(
    start: datetime, end: datetime
) -> None:
    with pytest.raises(BackfillError, match="is no window: both need a time zone"):
        check_window(load_settings(), SILVER_ORDERS, start, end)


def test_a_window_is_taken_in_any_time_zone() -> None:
    there = timezone(timedelta(hours=2))
    local = TEN.astimezone(there), (TEN + timedelta(hours=1)).astimezone(there)
    start, _ = check_window(load_settings(), SILVER_ORDERS, *local)
    assert (start, start.tzinfo) == (TEN, timezone.utc)


def test_rows_past_their_retention_do_not_come_back() -> None:
    now = datetime.now(timezone.utc)
    with pytest.raises(BackfillError, match="past their retention and must not come back"):
        check_window(load_settings(), SILVER_DETECTIONS, now - timedelta(days=31), now)
    assert check_window(load_settings(), SILVER_ORDERS, now - timedelta(days=400), now)
