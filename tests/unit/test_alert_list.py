"""The one list of what is wrong, its badge, and when a receiver is sent what."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace as Row
from typing import Any

import pytest

from conf.settings import Settings, load_settings
from conf.stores import Stores
from dashboard import sections
from dashboard.alert_log import AlertLog, Notice
from dashboard.alert_rules import alert_rules
from dashboard.alerts import Alert, make_alert, open_alerts
from dashboard.board import Away, BoardView, ReadError, Snapshot
from dashboard.processes import read_absent
from dashboard.queries import QUERIES
from dashboard.sessions import Identity
from dashboard.streams import Reported
from infra.local.board import StateDir
from streaming.registry import STREAMS

pytestmark = pytest.mark.requirement("M2")

NOW = datetime(2024, 5, 8, 12, 20, tzinfo=timezone.utc)
"""A Wednesday; 14:20 in Berlin, where B01 is, and night in New York and Kolkata."""
MINUTE = timedelta(minutes=1)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(var_dir=tmp_path)


@pytest.fixture
def good(settings: Settings, stores: Stores) -> Snapshot:
    """All streams run, every camera delivers, nothing is wrong."""
    fine = {"state": "running", "ready": True, "failures": 0, "finished_batches": 9, "detail": ""}
    cameras = [
        Row(camera_id=camera.camera_id, minute=NOW - MINUTE, people_peak=1)
        for branch in stores.branches
        for camera in branch.cameras
    ]
    return Snapshot(
        settings,
        stores,
        NOW,
        {name: [] for name in QUERIES} | {"cameras": cameras},
        reported=Reported(NOW, {stream.name: fine for stream in STREAMS}),
    )


def answered(snapshot: Snapshot, **answers: Sequence[Any] | ReadError) -> Snapshot:
    assert answers.keys() <= QUERIES.keys()
    return replace(snapshot, answers={**snapshot.answers, **answers})


def stream_is(snapshot: Snapshot, state: str, detail: str = "") -> Snapshot:
    """One stream in another state."""
    assert snapshot.reported is not None
    streams = dict(snapshot.reported.streams)
    streams["footfall"] = {**streams["footfall"], "state": state, "detail": detail}
    return replace(snapshot, reported=Reported(NOW, streams))


def queue(*lengths: float, newest: datetime = NOW - MINUTE) -> list[Row]:
    """Minutes of the queue at the tills of B01, newest first."""
    return [
        Row(
            camera_id="B01-till", zone_id="till-queue", minute=newest - n * MINUTE, length_mean=mean
        )
        for n, mean in enumerate(lengths)
    ]


def hour(withheld: str | None, *, orders: int, visitors: int | None = 13) -> Row:
    """The last finished hour of B01."""
    return Row(
        branch_id="B01",
        hour=NOW.replace(hour=11, minute=0),
        local_hour=NOW.replace(hour=13, minute=0, tzinfo=None),
        visitors=visitors,
        orders_in_store=orders,
        conversion_withheld=withheld,
    )


def expectation(severity: str, state: str, *, ago: timedelta = MINUTE) -> Row:
    return Row(
        table_name="silver.orders",
        severity=severity,
        state=state,
        expectation="total_is_sum",
        ran_at=NOW - ago,
    )


def badge(view: BoardView) -> str:
    """The badge of every page, as HTML."""
    head = sections.head(view, {"/": "Today"}, "/", Identity("somebody", "operator"))
    (found,) = re.findall(r'<a class="badge.*?</a>', head)
    return str(found)


def names(snapshot: Snapshot) -> set[tuple[str, str]]:
    """Name and subject of each alert."""
    return {(alert.name, alert.subject) for alert in open_alerts(BoardView(snapshot))}


LONG_AGO = NOW - timedelta(days=5)
STUCK = [Row(of_all=3, untouched_since=LONG_AGO)]
REJECTED = [Row(rule="price_negative", of_all=2, open=2, last_hour=0)]
Cause = Callable[[Snapshot], Snapshot]
CAUSES: dict[tuple[str, str], Cause] = {
    ("ProcessDown", "streams"): lambda s: replace(s, reported=None),
    ("ProcessDown", "gateway"): lambda s: replace(s, absent={"gateway": "killed"}),
    ("StreamFailed", "footfall"): lambda s: stream_is(s, "failed", "disk full"),
    ("StreamFailing", "footfall"): lambda s: stream_is(s, "retrying"),
    ("StreamStalled", "footfall"): lambda s: stream_is(s, "stalled"),
    ("StreamBrokerAway", "kafka"): lambda s: replace(s, ends=ReadError("Kafka does not answer")),
    ("FiguresUnread", "cameras"): lambda s: answered(s, cameras=ReadError("denied")),
    ("CameraSilent", "B01-till"): lambda s: answered(
        s, cameras=[c for c in s.rows("cameras") if c.camera_id != "B01-till"]
    ),
    ("QueueLong", "B01-till till-queue"): lambda s: answered(s, queue_recent=queue(9, 9, 8, 8, 7)),
    ("ConversionWithheld", "B01 2024-05-08 13:00"): lambda s: answered(
        s, store_hourly=[hour("above 100 %", orders=27)]
    ),
    ("OrdersStuck", "orders"): lambda s: answered(s, stuck_orders=STUCK),
    ("DeadLettersOpen", "orders"): lambda s: answered(s, dead_letters=REJECTED),
    ("QualityCriticalFailed", "silver.orders"): lambda s: answered(
        s, quality_results=[expectation("critical", "failed")]
    ),
    ("QualityWarning", "silver.orders"): lambda s: answered(
        s, quality_results=[expectation("critical", "unreadable")]
    ),
    ("QualityNotRun", "quality"): lambda s: answered(
        s, quality_results=[expectation("critical", "passed", ago=timedelta(hours=1))]
    ),
    ("RetentionLate", "zone_visits"): lambda s: answered(
        s, oldest_visit=[Row(entered_at=LONG_AGO)]
    ),
}


@pytest.mark.parametrize("key", CAUSES, ids=" ".join)
def test_each_cause_is_one_alert_and_the_badge_is_not_green(
    good: Snapshot, key: tuple[str, str]
) -> None:
    broken = CAUSES[key](good)
    assert names(broken) == {key}
    assert "good" not in badge(BoardView(broken))
    (alert,) = open_alerts(BoardView(broken))
    listed = sections.alerts(BoardView(broken))
    assert alert.name in listed
    assert 'class="note' in listed
    assert alert.action
    assert "Nothing is wrong" not in listed


def test_the_badge_is_green_only_while_nothing_is_wrong_and_all_was_read(good: Snapshot) -> None:
    assert "✓ all well" in badge(BoardView(good))
    assert "Nothing is wrong" in sections.alerts(BoardView(good))
    away = BoardView(good, Away(NOW, "connection refused"))
    assert [alert.name for alert in open_alerts(away)] == ["DatabaseAway"]
    assert "good" not in badge(away)
    assert "reading" in badge(BoardView())


def test_a_program_that_should_run_and_does_not_is_absent(tmp_path: Path) -> None:
    assert read_absent(tmp_path) == {}
    StateDir(tmp_path).want({"gateway": 1.0, "postgres": 1.0})
    assert read_absent(tmp_path) == {"gateway": "", "postgres": ""}
    (tmp_path / "run" / "wanted.json").write_text("{")
    assert read_absent(tmp_path) == {}


def test_a_slow_table_hides_no_stream_that_failed(good: Snapshot) -> None:
    slow = dict.fromkeys(("latency", "stream_batches", "stream_offsets"), ReadError("too slow"))
    broken = answered(stream_is(good, "failed"), **slow)
    assert ("StreamFailed", "footfall") in names(broken)
    unread = {("FiguresUnread", query) for query in slow}
    assert names(broken) == {("StreamFailed", "footfall"), *unread}


def test_a_roster_that_cannot_be_used_names_its_file_and_keeps_no_alert_open(
    good: Snapshot,
) -> None:
    (roster,) = open_alerts(BoardView(replace(good, roster=ReadError("line 3 has no branch"))))
    assert "console.roster_file" in roster.action
    log = alert_log()
    for minutes in (0, 2):
        after(log, minutes, SILENT, roster)
    (end,) = [one for one in after(log, 5, roster) if one.ended]
    assert end.alert == SILENT


def test_what_concerns_every_branch_is_before_what_concerns_one(good: Snapshot) -> None:
    nothing = replace(answered(good, cameras=[], dead_letters=REJECTED), reported=None)
    first, *silent, last = [alert.name for alert in open_alerts(BoardView(nothing))]
    assert (first, set(silent), last) == ("ProcessDown", {"CameraSilent"}, "DeadLettersOpen")


@pytest.mark.parametrize(
    "minutes",
    [
        queue(9, 9, 9, 9),
        queue(6, 9, 9, 9, 9, 9),
        queue(9, 9, 9, 9, 9, newest=NOW - 10 * MINUTE),
        queue(6, 6, 6, 6, 6, 6),
        queue(9) + queue(9, 9, 9, 9, 9, newest=NOW - 40 * MINUTE),
    ],
    ids=["not long enough", "over", "too old", "at the limit", "unknown in between"],
)
def test_a_queue_is_an_alert_only_above_its_limit_until_now(
    good: Snapshot, minutes: list[Row]
) -> None:
    assert names(answered(good, queue_recent=minutes)) == set()


def test_an_hour_without_orders_or_long_over_withholds_nothing_that_is_missed(
    good: Snapshot,
) -> None:
    quiet = hour("no visitors counted", orders=0, visitors=0)
    old = hour("above 100 %", orders=27)
    old.hour -= timedelta(hours=3)
    assert names(answered(good, store_hourly=[quiet, old, hour(None, orders=5)])) == set()


def test_a_hostile_text_is_shown_and_not_run(good: Snapshot) -> None:
    hostile = stream_is(good, "failed", "<script>alert(1)</script>")
    assert "<script>" not in sections.alerts(BoardView(hostile))


def test_every_rule_has_a_severity_and_an_action_of_one_sentence() -> None:
    for rule in alert_rules().values():
        assert rule.severity in {"critical", "warning"}
        assert rule.action.endswith(".")


# --- what a receiver is sent, and when ----------------------------------------------------------

HOLD, REPEAT = timedelta(minutes=2), timedelta(hours=4)
SILENT = make_alert("CameraSilent", "B01-till", "No frame.", branch_id="B01")
AWAY = make_alert("DatabaseAway", "Postgres", "The database does not answer.")


def alert_log() -> AlertLog:
    return AlertLog(["webhook", "mail"], HOLD, REPEAT)


def after(log: AlertLog, minutes: float, *alerts: Alert) -> list[Notice]:
    """What the webhook is sent at a time, while these are open; it accepts all of it."""
    now = NOW + minutes * MINUTE
    log.observe(alerts, now)
    due = log.due("webhook", now)
    log.sent("webhook", due, now)
    return due


def test_an_alert_is_sent_once_after_its_hold_then_as_a_reminder_and_when_it_has_ended() -> None:
    log = alert_log()
    assert after(log, 0, SILENT) == []
    assert after(log, 1.9, SILENT) == []
    (begin,) = after(log, 2, SILENT)
    assert (begin.alert, begin.began, begin.ended) == (SILENT, NOW, None)
    assert after(log, 3, SILENT) == []
    assert len(after(log, 242, SILENT)) == 1
    assert after(log, 243) == []
    (end,) = after(log, 244)
    assert end.ended == NOW + 244 * MINUTE
    assert after(log, 245) == []


def test_what_opens_again_is_held_again_although_a_receiver_lacks_its_first_end() -> None:
    log = alert_log()
    for minutes in (0, 2):
        after(log, minutes, SILENT)
    log.sent("mail", log.due("mail", NOW + 2 * MINUTE), NOW + 2 * MINUTE)
    assert [one.ended is None for one in after(log, 5)] == [False]  # mail is away for its end
    assert after(log, 180, SILENT) == []
    (again,) = after(log, 182, SILENT)
    assert again.began == NOW + 180 * MINUTE


def test_what_is_over_before_its_hold_is_never_sent() -> None:
    log = alert_log()
    assert [after(log, n, *open_) for n, open_ in ((0, [SILENT]), (1, []), (9, []))] == [[]] * 3


def test_while_the_database_is_away_no_alert_ends_by_its_absence() -> None:
    log = alert_log()
    after(log, 0, SILENT)
    after(log, 2, SILENT)
    assert after(log, 3, AWAY) == []
    (away,) = after(log, 30, AWAY)
    assert away.alert == AWAY
    after(log, 31, SILENT)
    (back,) = after(log, 33, SILENT)
    assert (back.alert, back.ended is not None) == (AWAY, True)


def test_after_a_restart_nothing_is_sent_again_and_an_end_is_not_lost() -> None:
    log = alert_log()
    after(log, 0, SILENT)
    after(log, 2, SILENT)
    restarted = alert_log()
    restarted.load(log.dump(), NOW + 3 * MINUTE)
    assert after(restarted, 3, SILENT) == []
    assert after(restarted, 4) == []
    (end,) = after(restarted, 5)
    assert end.ended is not None


def test_a_receiver_that_was_away_is_sent_what_is_open_and_no_end_of_anything_else() -> None:
    log = alert_log()
    for minutes in (0, 2, 5):
        after(log, minutes, SILENT)
    assert len(log.due("mail", NOW + 5 * MINUTE)) == 1
    after(log, 6)
    after(log, 8)
    assert log.due("mail", NOW + 8 * MINUTE) == []


def test_what_ends_while_it_is_sent_is_followed_by_its_end() -> None:
    log = alert_log()
    log.observe([SILENT], NOW)
    log.observe([SILENT], NOW + HOLD)
    due = log.due("mail", NOW + HOLD)
    log.observe([], NOW + 3 * HOLD)
    log.sent("mail", due, NOW + 3 * HOLD)
    (end,) = log.due("mail", NOW + 3 * HOLD)
    assert end.ended is not None
