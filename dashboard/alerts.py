"""The one list of what is wrong now, with what to do: for the pages, the badge and the sender."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby, takewhile
from operator import attrgetter
from typing import Any

from conf.stores import Branch, Camera, Zone
from dashboard import words
from dashboard.alert_rules import Severity, alert_rules
from dashboard.board import BoardView, ReadError, Snapshot
from dashboard.branches import MINUTE, is_silent
from dashboard.opening import HOUR
from dashboard.pipeline import StreamNow, detail_of, health_of, pipeline_now
from streaming.registry import STREAMS

UNREAD = frozenset({"DatabaseAway", "FiguresUnread", "StreamBrokerAway"})
"""While one of these is open, the absence of another alert does not mean that it ended."""
INFORMATIVE = frozenset({"roster", "latency"})
"""What no alert is derived from: while only that cannot be read, alerts end."""
BEHIND_ROWS, BEHIND_MINUTES = 1_000, 5
"""A stream with more waiting messages than both of these is behind."""
NEW_MINUTES = timedelta(minutes=3)
"""The newest minute of a queue is at most this old; an older one is not the present length."""
WITHHELD_HOURS = timedelta(hours=2)
MOST_NAMES = 5
RUN_SLACK = timedelta(minutes=10)
"""As in the rule `QualityNotRun`: three intervals, and this long for a run."""


@dataclass(frozen=True)
class Alert:
    """Something that is wrong. Key: name, subject.

    Attributes:
        name: of the rule, the same as in Prometheus where it has that rule.
        subject: what it is about: a stream, a camera, a table, a branch.
        summary: what is wrong, in one sentence.
        action: what to do, in one sentence.
        since: begin as far as the data have it, UTC; None where they do not.
        branch_id: None where it concerns no single branch.
    """

    name: str
    severity: Severity
    subject: str
    summary: str
    action: str
    since: datetime | None = None
    branch_id: str | None = None


def make_alert(
    name: str,
    subject: str,
    summary: str,
    since: datetime | None = None,
    branch_id: str | None = None,
) -> Alert:
    """An alert with the severity and the action of its rule."""
    rule = alert_rules()[name]
    return Alert(name, rule.severity, subject, summary, rule.action, since, branch_id)


def open_alerts(view: BoardView) -> list[Alert]:
    """Everything that is wrong now: critical first, what concerns every branch before the rest.

    What cannot be read is an alert itself. Empty before the first snapshot.
    """
    if view.away:
        reason = f"The database does not answer: {view.away.reason}."
        return [make_alert("DatabaseAway", "Postgres", reason, view.away.since)]
    if view.snapshot is None:
        return []
    found = [alert for part in _PARTS for alert in _read(part, view.snapshot)]
    return sorted(found, key=lambda a: (a.severity, a.branch_id is not None, a.name, a.subject))


def _read(part: Callable[[Snapshot], Iterator[Alert]], snapshot: Snapshot) -> list[Alert]:
    with suppress(ReadError):  # `_unread` has it
        return list(part(snapshot))
    return []


def _unread(snapshot: Snapshot) -> Iterator[Alert]:
    for query, rows in snapshot.answers.items():
        if isinstance(rows, ReadError):
            yield make_alert("FiguresUnread", query, f"It cannot be read: {rows}.")
    if isinstance(snapshot.roster, ReadError):
        unread = make_alert("FiguresUnread", "roster", f"{snapshot.roster}.")
        yield replace(unread, action="Correct the file that `console.roster_file` names.")
    if isinstance(snapshot.ends, ReadError):
        yield make_alert("StreamBrokerAway", "kafka", f"{snapshot.ends}.")


def _processes(snapshot: Snapshot) -> Iterator[Alert]:
    for name, note in snapshot.absent.items():
        reason = f": {note}" if note else ""
        yield make_alert("ProcessDown", name, f"It should run and does not{reason}.")
    if snapshot.reported is None and "streams" not in snapshot.absent:
        yield make_alert("ProcessDown", "streams", "No streams run: figures stand still.")


def _streams(snapshot: Snapshot) -> Iterator[Alert]:
    """Needs no query: a slow table hides no stream that failed."""
    for stream in STREAMS if snapshot.reported else ():
        health = health_of(snapshot, stream.name)
        if rule := _RULES_OF_HEALTH.get(health):
            detail = detail_of(snapshot, stream.name) or f"Its state is {health}."
            yield make_alert(rule, stream.name, detail)


def _behind(snapshot: Snapshot) -> Iterator[Alert]:
    for stream in pipeline_now(snapshot) if snapshot.reported else ():
        if stream.health not in _RULES_OF_HEALTH and _is_behind(stream):
            waiting = f"{words.plural(stream.lag or 0, 'message')} wait"
            yield make_alert(
                "StreamBehind", stream.stream.name, f"{waiting}, more than it reads in 5 minutes."
            )


_RULES_OF_HEALTH = {
    "failed": "StreamFailed",
    "retrying": "StreamFailing",
    "stalled": "StreamStalled",
    "stopped": "StreamDown",
    "silent": "StreamDown",
}


def _is_behind(stream: StreamNow) -> bool:
    a_minute = stream.ledger.rows_minute if stream.ledger else 0
    return stream.lag is not None and stream.lag > max(BEHIND_ROWS, BEHIND_MINUTES * a_minute)


def _cameras(snapshot: Snapshot) -> Iterator[Alert]:
    seen = {camera.camera_id: camera.minute for camera in snapshot.rows("cameras")}
    stale_after = snapshot.settings.console.stale_after
    for branch in snapshot.stores.branches:
        for camera in branch.cameras if branch.is_open(snapshot.at) else ():
            minute = seen.get(camera.camera_id)
            if is_silent(minute, snapshot.at, stale_after):
                newest = words.ago(minute, snapshot.at) if minute else "never"
                summary = f"{branch.name}, {camera.name}: newest frame {newest}."
                yield make_alert(
                    "CameraSilent", camera.camera_id, summary, minute, branch.branch_id
                )


def _queues(snapshot: Snapshot) -> Iterator[Alert]:
    key = attrgetter("camera_id", "zone_id")
    minutes = {k: list(rows) for k, rows in groupby(snapshot.rows("queue_recent"), key)}
    for branch, camera, zone in _limited_queues(snapshot):
        place = (camera.camera_id, zone.zone_id)
        long = _above(minutes.get(place, []), zone.limit or 0)
        if _is_long(long, snapshot):
            summary = (
                f"{branch.name}: {long[0].length_mean:.0f} people wait, the limit is {zone.limit}, "
                f"for {words.plural(len(long), 'minute')}."
            )
            yield make_alert(
                "QueueLong", " ".join(place), summary, long[-1].minute, branch.branch_id
            )


def _limited_queues(snapshot: Snapshot) -> Iterator[tuple[Branch, Camera, Zone]]:
    for branch in snapshot.stores.branches:
        for camera in branch.cameras:
            layout = snapshot.stores.layout_at(camera, snapshot.at)
            for zone in layout.zones if layout else ():
                if zone.kind == "queue" and zone.limit is not None:
                    yield branch, camera, zone


def _above(minutes: Sequence[Any], limit: int) -> list[Any]:
    """The minutes above the limit, from the newest back to the first that is not, or is missing."""
    found: list[Any] = []
    for minute in takewhile(lambda one: one.length_mean > limit, minutes):
        if found and found[-1].minute - minute.minute > MINUTE:
            break
        found.append(minute)
    return found


def _is_long(long: Sequence[Any], snapshot: Snapshot) -> bool:
    """Whether minutes above the limit, newest first, reach until now and last long enough."""
    if not long or snapshot.at - long[0].minute >= NEW_MINUTES:
        return False
    lasts: timedelta = long[0].minute + MINUTE - long[-1].minute
    return lasts >= snapshot.settings.alerts.queue_after


def _conversion(snapshot: Snapshot) -> Iterator[Alert]:
    names = {branch.branch_id: branch.name for branch in snapshot.stores.branches if branch.cameras}
    for hour in snapshot.rows("store_hourly"):
        ended = hour.hour + HOUR
        is_recent = timedelta(0) <= snapshot.at - ended < WITHHELD_HOURS
        if is_recent and hour.conversion_withheld and hour.orders_in_store:
            name = names.get(hour.branch_id)
            if name is not None:
                yield _withheld(hour, name)


def _withheld(hour: Any, name: str) -> Alert:
    visitors = words.plural(hour.visitors, "visitor") if hour.visitors is not None else "unknown"
    summary = (
        f"{name}, {hour.local_hour:%H:%M}: the conversion is withheld, "
        f"{hour.conversion_withheld}; {words.plural(hour.orders_in_store, 'order')} in the shop, "
        f"visitors {visitors}."
    )
    subject = f"{hour.branch_id} {hour.local_hour:%Y-%m-%d %H:%M}"
    return make_alert("ConversionWithheld", subject, summary, hour.hour, hour.branch_id)


def _orders(snapshot: Snapshot) -> Iterator[Alert]:
    if stuck := snapshot.rows("stuck_orders"):
        after = words.seconds(snapshot.settings.streams.status_stuck_after.total_seconds())
        many = words.plural(stuck[0].of_all, "open order has", "open orders have")
        summary = f"{many} not changed for {after}."
        yield make_alert("OrdersStuck", "orders", summary, stuck[0].untouched_since)
    if dead := snapshot.rows("dead_letters"):
        many = words.plural(
            dead[0].of_all, "rejected order message is", "rejected order messages are"
        )
        yield make_alert("DeadLettersOpen", "orders", f"{many} open; most break {dead[0].rule}.")


def _quality(snapshot: Snapshot) -> Iterator[Alert]:
    rows = snapshot.rows("quality_results")
    wrong = sorted((r for r in rows if r.state != "passed"), key=attrgetter("table_name"))
    for table, found in groupby(wrong, attrgetter("table_name")):
        ours = list(found)
        critical = [r for r in ours if r.severity == "critical" and r.state == "failed"]
        rule = "QualityCriticalFailed" if critical else "QualityWarning"
        names = [r.expectation for r in critical or ours]
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        summary = f"{table} is not as expected: {', '.join(names[:MOST_NAMES])}{more}."
        yield make_alert(rule, table, summary)
    newest = max((row.ran_at for row in rows), default=None)
    allowed = 3 * snapshot.settings.supervisor.quality_every + RUN_SLACK
    if newest is not None and snapshot.at - newest > allowed:
        summary = f"The newest run ended {words.ago(newest, snapshot.at)}."
        yield make_alert("QualityNotRun", "quality", summary, newest)


def _retention(snapshot: Snapshot) -> Iterator[Alert]:
    kept = snapshot.settings.retention
    oldest = next((row.entered_at for row in snapshot.rows("oldest_visit")), None)
    due = snapshot.at - kept.detections - 3 * kept.every
    if kept.enabled and oldest is not None and oldest < due:
        summary = f"The oldest zone visit began {words.ago(oldest, snapshot.at)}."
        yield make_alert("RetentionLate", "zone_visits", summary, oldest + kept.detections)


_PARTS = (
    *(_unread, _processes, _streams, _behind, _cameras, _queues),
    *(_conversion, _orders, _quality, _retention),
)
