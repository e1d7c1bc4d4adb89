"""Which order events are too late for their hour, to the microsecond."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.source import HISTORY_HEADER, SOURCE_SCHEMA
from streaming.transforms.watermark import (
    advance_watermark,
    clocks_ahead,
    clocks_unreadable,
    is_late,
    newest_event_time,
)

HOUR = timedelta(hours=1)
TICK = timedelta(microseconds=1)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(f"2024-05-01T{text}+00:00")


def late(event_time: datetime, watermark: datetime | None, lateness: timedelta = HOUR) -> bool:
    times = pa.chunked_array([pa.array([event_time], pa.timestamp("us", tz="UTC"))])
    (answer,) = is_late(times, watermark, lateness).to_pylist()
    return bool(answer)


def test_before_the_first_watermark_nothing_is_late() -> None:
    assert not late(datetime(1970, 1, 1, tzinfo=timezone.utc), None)


@pytest.mark.parametrize("event_time", ["10:00:00", "10:59:59.999999"])
def test_an_event_is_late_once_its_whole_hour_is_over_for_the_allowed_time(event_time: str) -> None:
    assert not late(moment(event_time), watermark=moment("12:00:00") - TICK)
    assert late(moment(event_time), watermark=moment("12:00:00"))


def test_the_next_hour_is_late_by_its_own_end() -> None:
    assert not late(moment("11:00:00"), watermark=moment("12:59:59.999999"))
    assert late(moment("11:00:00"), watermark=moment("13:00:00"))


def test_without_allowed_lateness_an_event_is_late_at_the_end_of_its_hour() -> None:
    assert not late(moment("10:30:00"), moment("11:00:00") - TICK, lateness=timedelta(0))
    assert late(moment("10:30:00"), moment("11:00:00"), lateness=timedelta(0))


def test_an_event_ahead_of_the_watermark_is_on_time() -> None:
    assert not late(moment("23:59:59"), watermark=moment("10:00:00"))


def test_lateness_is_decided_for_every_event_of_a_batch() -> None:
    times = [moment("09:59:59.999999"), moment("10:00:00"), moment("11:00:00")]
    batch = pa.chunked_array([pa.array([t], pa.timestamp("us", tz="UTC")) for t in times])
    assert is_late(batch, moment("11:30:00"), HOUR).to_pylist() == [True, False, False]


@pytest.mark.parametrize("watermark", [None, moment("10:00:00")])
def test_an_empty_batch_has_no_late_events(watermark: datetime | None) -> None:
    none = pa.chunked_array([], pa.timestamp("us", tz="UTC"))
    assert len(is_late(none, watermark, HOUR)) == 0


minutes = st.integers(0, 10_000).map(lambda n: moment("00:00:00") + timedelta(minutes=n))


@given(minutes, minutes, st.integers(0, 600))
def test_late_means_the_end_of_the_hour_plus_the_allowed_time_is_not_after_the_watermark(
    event_time: datetime, watermark: datetime, lateness: int
) -> None:
    allowed = timedelta(minutes=lateness)
    over = event_time.replace(minute=0) + HOUR + allowed
    assert late(event_time, watermark, allowed) == (over <= watermark)


def events(*rows: tuple[str, datetime, datetime | None], headers: Any = ()) -> pa.Table:
    """(branch, event time, the broker's time) of each, and their headers."""
    branches, times, arrived = zip(*rows, strict=True)
    instant = pa.timestamp("us", tz="UTC")
    return pa.table(
        {
            "branch_id": pa.array(branches),
            "event_time": pa.array(times, instant),
            "timestamp": pa.array(arrived, instant),
            "headers": pa.array([headers] * len(rows), SOURCE_SCHEMA.field("headers").type),
        }
    )


NOW = moment("12:00:00")


def test_a_producer_whose_clock_is_ahead_makes_nobody_late() -> None:
    honest, ahead = ("B01", NOW - HOUR, NOW), ("B02", NOW + HOUR, NOW)
    assert newest_event_time(events(honest), NOW) == NOW - HOUR
    assert newest_event_time(events(honest, ahead), NOW) == NOW
    assert clocks_ahead(events(honest, ahead, ahead), NOW) == {"B02": 2}


def test_a_producer_whose_brokers_time_is_its_own_makes_nobody_late_either() -> None:
    honest, ahead = ("B01", NOW - HOUR, NOW), ("B02", NOW + HOUR, NOW + HOUR)
    assert newest_event_time(events(honest, ahead), NOW) == NOW
    assert clocks_ahead(events(honest, ahead), NOW) == {"B02": 1}


def test_a_producer_that_sends_no_milliseconds_is_named() -> None:
    seconds = ("B02", NOW, None)
    assert clocks_unreadable(events(("B01", NOW, NOW), seconds)) == {"B02": 1}


def test_without_a_brokers_time_an_event_counts_up_to_now() -> None:
    assert newest_event_time(events(("B01", NOW + HOUR, None)), NOW) == NOW
    assert newest_event_time(events(("B01", NOW - HOUR, None)), NOW) == NOW - HOUR


def test_an_imported_event_moves_no_watermark() -> None:
    imported = events(("B01", NOW, NOW), headers=[{"key": HISTORY_HEADER, "value": b"1"}])
    honest = events(("B01", NOW - HOUR, NOW))
    assert newest_event_time(imported, NOW) is None
    assert newest_event_time(pa.concat_tables([honest, imported]), NOW) == NOW - HOUR


def test_a_watermark_never_falls() -> None:
    delay = timedelta(minutes=5)
    assert advance_watermark(None, None, delay) is None
    assert advance_watermark(None, NOW, delay) == NOW - delay
    assert advance_watermark(NOW, NOW - HOUR, delay) == NOW
    assert advance_watermark(NOW, None, delay) == NOW
