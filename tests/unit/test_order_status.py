"""Status history: what each change means, whatever the order of arrival, and the timers."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.transforms.order_buckets import place_of
from streaming.transforms.order_status import Event, HistoryRow
from streaming.transforms.status_packs import Message, Pack, process
from tests.support.status_orders import (
    DAY,
    TEN,
    WEEK,
    Tracker,
    cancelled,
    change,
    created,
    micros,
)

pytestmark = pytest.mark.requirement("O4")


@pytest.fixture
def tracker() -> Tracker:
    return Tracker()


def copied(events: Sequence[tuple[str, Event]]) -> list[tuple[str, Event]]:
    return [(order_id, copy(event)) for order_id, event in events]


def seconds(row: HistoryRow) -> float | None:
    """Spent in the previous status."""
    since = row.previous_changed_at
    return None if since is None else (row.changed_at - since) / 1_000_000


def test_an_order_that_continues_its_way_reports_how_long_each_status_took(
    tracker: Tracker,
) -> None:
    tracker.apply(created(1, 0), change(2, 5, "pending", "processing"))
    tracker.apply(change(3, 25, "processing", "completed"))

    first, second = tracker.history
    assert (first.previous_status, seconds(first)) == ("pending", 300)
    assert (second.previous_status, seconds(second)) == ("processing", 1200)
    assert tracker.anomalies == [None, None]


def test_created_and_cancelled_make_no_row(tracker: Tracker) -> None:
    tracker.apply(created(1, 0), cancelled(3, 2))

    assert tracker.history == []
    assert tracker.due_at("O-1") == micros(TEN + timedelta(minutes=2) + DAY)


def test_without_the_order_itself_the_first_status_has_no_known_beginning(
    tracker: Tracker,
) -> None:
    tracker.apply(change(1, 5, "pending", "processing"))

    (row,) = tracker.history
    assert (row.previous_status, seconds(row), row.anomaly) == (None, None, None)


def test_an_order_that_arrives_after_its_change_completes_the_story(tracker: Tracker) -> None:
    tracker.apply(change(2, 5, "pending", "processing"))
    tracker.apply(created(1, 0))

    (row,) = tracker.history
    assert (row.previous_status, seconds(row)) == ("pending", 300)


@pytest.mark.parametrize(
    ("old", "new"), [("pending", "pending"), ("completed", "pending"), ("cancelled", "completed")]
)
def test_a_way_that_no_order_may_go_is_called_illegal(tracker: Tracker, old: str, new: str) -> None:
    tracker.apply(change(1, 5, old, new))

    assert tracker.anomalies == ["illegal_transition"]


def test_a_change_from_a_status_that_the_order_was_not_in_is_called_illegal(
    tracker: Tracker,
) -> None:
    tracker.apply(created(1, 0), change(2, 5, "processing", "completed"))

    assert tracker.anomalies == ["illegal_transition"]


def test_the_same_status_again_is_a_duplicate_and_does_not_begin_it_again(
    tracker: Tracker,
) -> None:
    tracker.apply(created(1, 0), change(2, 5, "pending", "processing"))
    tracker.apply(change(3, 15, "pending", "processing"))
    tracker.apply(change(4, 25, "processing", "completed"))

    assert tracker.anomalies == [None, "duplicate", None]
    assert seconds(tracker.history[2]) == 1200


def test_the_same_event_again_changes_nothing(tracker: Tracker) -> None:
    tracker.apply(created(1, 0), change(2, 5, "pending", "processing"))
    before = list(tracker.emitted)

    tracker.apply(change(7, 5, "pending", "processing", event_id="E-2"))

    assert tracker.emitted == before


def test_a_change_that_was_overtaken_is_out_of_order_and_mends_its_neighbours(
    tracker: Tracker,
) -> None:
    tracker.apply(created(1, 0), change(3, 25, "processing", "completed"))
    assert tracker.anomalies == ["illegal_transition"]

    tracker.apply(change(2, 5, "pending", "processing"))

    assert tracker.anomalies == ["out_of_order", None]
    assert [seconds(row) for row in tracker.history] == [300, 1200]
    assert tracker.due_at("O-1") == micros(TEN + timedelta(minutes=25) + DAY)


def test_changes_close_together_are_one_session(tracker: Tracker) -> None:
    tracker.apply(
        created(1, 0),
        change(2, 5, "pending", "processing"),
        change(3, 34, "processing", "processing"),
        change(4, 64, "processing", "completed"),
    )

    sessions = [row.session_at for row in tracker.history]
    assert sessions == [micros(TEN + timedelta(minutes=minute)) for minute in (5, 5, 64)]


def test_an_order_without_a_change_for_a_day_is_stuck_once(tracker: Tracker) -> None:
    tracker.apply(created(1, 0), change(2, 5, "pending", "processing"))
    since = TEN + timedelta(minutes=5)

    tracker.apply(clock=since + DAY - timedelta(seconds=1))
    assert tracker.anomalies == [None]
    for later in (DAY, 2 * DAY):
        tracker.apply(clock=since + later)

    alarm = tracker.emitted[-1]
    assert (alarm.event_id, alarm.anomaly) == ("E-2/stuck", "stuck")
    assert (alarm.changed_at, alarm.new_status) == (micros(since + DAY), "processing")
    assert seconds(alarm) == 86400
    assert len(tracker.emitted) == 2


def test_an_order_that_nobody_ever_touched_is_stuck_too(tracker: Tracker) -> None:
    tracker.apply(created(1, 0), clock=TEN + DAY)

    assert tracker.anomalies == ["stuck"]


@pytest.mark.parametrize("end", [change(3, 9, "processing", "completed"), cancelled(3, 9)])
def test_an_order_that_has_ended_is_never_stuck_and_is_expired(tracker: Tracker, end: Any) -> None:
    tracker.apply(created(1, 0), change(2, 5, "pending", "processing"), end)

    tracker.apply(clock=TEN + 2 * DAY)

    assert "stuck" not in tracker.anomalies
    assert tracker.due_at("O-1") is None


def test_a_change_that_an_expired_order_left_behind_is_out_of_order(tracker: Tracker) -> None:
    tracker.apply(created(1, 0), change(3, 9, "pending", "completed"))
    tracker.apply(clock=TEN + 2 * DAY)

    tracker.apply(change(2, 5, "pending", "processing"), clock=TEN + 4 * DAY)

    assert tracker.anomalies[0] == "out_of_order"


def test_a_stuck_order_is_expired_in_the_end(tracker: Tracker) -> None:
    tracker.apply(created(1, 0), clock=TEN + DAY)
    assert tracker.due_at("O-1") == micros(TEN + DAY + WEEK)

    tracker.apply(clock=TEN + DAY + WEEK)

    assert tracker.due_at("O-1") is None


def test_a_change_made_before_the_alarm_that_arrives_after_it_takes_it_back(
    tracker: Tracker,
) -> None:
    tracker.apply(created(1, 0), clock=TEN + DAY)
    assert tracker.anomalies == ["stuck"]

    tracker.apply(change(2, 5, "pending", "processing"), clock=TEN + DAY)

    assert tracker.anomalies == ["stuck_withdrawn", None]
    assert tracker.due_at("O-1") == micros(TEN + timedelta(minutes=5) + DAY)


def test_an_alarm_whose_status_began_earlier_is_another_one_with_its_own_time(
    tracker: Tracker,
) -> None:
    """The lake looks for the row of an id at its time."""
    noon = TEN + DAY + timedelta(hours=2)
    tracker.apply(created(1, 0), change(3, 25, "pending", "processing"), clock=noon)
    tracker.apply(change(2, 5, "pending", "processing"), clock=noon)

    alarms = [row for row in tracker.emitted if row.session_at is None]
    since = [TEN + DAY + timedelta(minutes=minute) for minute in (25, 5)]
    assert {(row.changed_at, row.anomaly) for row in alarms} == {
        (micros(since[0]), "stuck"),
        (micros(since[0]), "stuck_withdrawn"),
        (micros(since[1]), "stuck"),
    }
    assert len({row.event_id for row in alarms}) == 2


def test_a_replay_raises_the_alarms_of_the_first_run(tracker: Tracker) -> None:
    days = [created(1, 0), change(2, 3 * 24 * 60, "pending", "completed")]
    tracker.apply(copied(days)[0], clock=TEN + 2 * DAY)
    tracker.apply(copied(days)[1], clock=TEN + 3 * DAY)

    replay = Tracker()
    replay.apply(*copied(days), clock=TEN + 3 * DAY)

    assert tracker.anomalies == ["stuck", None]
    assert replay.history == tracker.history


def batch(
    tracker: Tracker, committed: Sequence[Any] = (), new: Sequence[Any] = (), clock: datetime = TEN
) -> list[HistoryRow]:
    """A batch of O-1 in Spark, after a start from the watermark of the second day."""
    number = place_of("O-1")[0]
    messages = [
        Message("t", 0, event.version, event.at, is_new, order_id, event)
        for is_new, events in ((False, committed), (True, new))
        for order_id, event in events
    ]
    pack = Pack(messages, micros(clock), messages[-1], replays=bool(committed))
    bucket = tracker.bucket(number)
    output = process([pack], bucket, micros(TEN + DAY / 2))
    tracker.save(number, bucket)
    return output.rows


def test_committed_messages_only_update_the_state(tracker: Tracker) -> None:
    assert batch(tracker, committed=[created(1, 0)], clock=TEN + 3 * DAY) == []
    (row,) = batch(tracker, new=[change(2, 60, "pending", "completed")], clock=TEN + 3 * DAY)
    assert (row.previous_status, seconds(row)) == ("pending", 3600)


def test_no_alarm_is_raised_while_committed_messages_may_refute_it(tracker: Tracker) -> None:
    elsewhere = created(5, 60 * 24 * 3, "O-2")
    assert batch(tracker, [created(1, 0)], new=[elsewhere], clock=TEN + 3 * DAY) == []
    assert batch(tracker, [cancelled(2, 9)], new=[], clock=TEN + 3 * DAY) == []
    assert batch(tracker, new=[elsewhere], clock=TEN + 3 * DAY) == []


LIFE = [
    created(1, 0),
    change(2, 5, "pending", "processing"),
    change(3, 12, "processing", "processing"),
    change(4, 55, "processing", "completed"),
    created(5, 1, "O-2"),
    change(6, 44, "pending", "cancelled", "O-2"),
]


def meaning(tracker: Tracker) -> list[HistoryRow]:
    """The history but for what depends on the arrival."""
    return [row._replace(anomaly=None, overtaken=False) for row in tracker.history]


@given(st.permutations(LIFE), st.integers(1, len(LIFE)), st.integers(0, len(LIFE) - 1))
def test_arrival_in_any_order_in_any_batches_with_any_repetition_means_the_same(
    arrival: Sequence[tuple[str, Event]], size: int, again: int
) -> None:
    expected, tracker = Tracker(), Tracker()
    expected.apply(*copied(LIFE))

    arrived = copied([*arrival, LIFE[again]])
    for start in range(0, len(arrived), size):
        tracker.apply(*arrived[start : start + size])

    assert meaning(tracker) == meaning(expected)
    assert [tracker.due_at(o) for o in ("O-1", "O-2")] == [
        expected.due_at(o) for o in ("O-1", "O-2")
    ]
