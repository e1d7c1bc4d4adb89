"""Which alerts each receiver has been sent, so that none is sent twice and each end is sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any

from dashboard.alerts import INFORMATIVE, UNREAD, Alert

KEEP_ENDED = timedelta(days=7)
"""A receiver that is away for longer is not sent the end of an alert."""
Key = tuple[str, str]


@dataclass(frozen=True)
class Notice:
    """What one receiver is sent about one alert; times are UTC.

    Attributes:
        began: since when it is open: by the data, else when it was seen first.
        ended: None while it is open.
    """

    alert: Alert
    began: datetime
    ended: datetime | None = None


@dataclass
class _Episode:
    """One alert from its begin until every receiver has been sent its end.

    Attributes:
        began: when it was seen first; seen: when it was seen last.
        sent: receiver -> when it was last sent this alert as open.
    """

    alert: Alert
    began: datetime
    seen: datetime
    ended: datetime | None = None
    sent: dict[str, datetime] = field(default_factory=dict)

    def notice(self) -> Notice:
        return Notice(self.alert, self.alert.since or self.began, self.ended)


class AlertLog:
    """The alerts over time, and what of it each receiver has.

    Args:
        receivers: their names.
        hold: an alert begins once it was seen for this long, and ends once it was not.
        repeat: an open alert is due again after this long.
    """

    def __init__(self, receivers: Sequence[str], hold: timedelta, repeat: timedelta) -> None:
        self._receivers, self._hold, self._repeat = receivers, hold, repeat
        self._episodes: dict[Key, _Episode] = {}

    def observe(self, alerts: Iterable[Alert], now: datetime) -> None:
        """Take what is open now.

        While something cannot be read, an alert that was sent does not end by its absence.
        """
        found = {(alert.name, alert.subject): alert for alert in alerts}
        all_read = not any(name in UNREAD and of not in INFORMATIVE for name, of in found)
        for key, alert in found.items():
            one = self._episodes.setdefault(key, _Episode(alert, now, now))
            if one.ended:  # for receivers that have its end it begins again
                one.began = now
            one.alert, one.seen, one.ended = alert, now, None
        for key in self._episodes.keys() - found.keys():
            self._absent(key, now, may_end=all_read or key[0] in UNREAD)

    def _absent(self, key: Key, now: datetime, *, may_end: bool) -> None:
        one = self._episodes[key]
        if one.sent and one.ended is None and not may_end:
            one.seen = now
        elif one.ended is None and now - one.seen >= self._hold:
            one.ended = now
        if one.ended and (not one.sent or now - one.ended > KEEP_ENDED):
            del self._episodes[key]

    def due(self, receiver: str, now: datetime) -> list[Notice]:
        """What this receiver should be sent now: begins, reminders and ends."""
        return [one.notice() for one in self._episodes.values() if self._is_due(one, receiver, now)]

    def _is_due(self, one: _Episode, receiver: str, now: datetime) -> bool:
        last = one.sent.get(receiver)
        if one.ended:
            return last is not None
        if last is None:
            # Absent ones wait: they begin when they are seen again.
            return one.seen - one.began >= self._hold
        return now - last >= self._repeat

    def sent(self, receiver: str, notices: Iterable[Notice], now: datetime) -> None:
        """Record that a receiver has these notices."""
        for notice in notices:
            key = (notice.alert.name, notice.alert.subject)
            # It may have ended, and be gone, while it was sent: then its end is due.
            gone = _Episode(notice.alert, notice.began, now, ended=now)
            one = self._episodes.setdefault(key, gone)
            if notice.ended is None:
                one.sent[receiver] = now
            else:
                one.sent.pop(receiver, None)
            if one.ended and not one.sent:
                del self._episodes[key]

    def dump(self) -> dict[str, Any]:
        """A JSON object that `load` takes: what was sent; what waits is seen again anyway."""
        return {"sent": [_written(one) for one in self._episodes.values() if one.sent]}

    def load(self, state: Mapping[str, Any], now: datetime) -> None:
        """Continue from `dump`; receivers that are not configured any more are left out.

        Raises:
            ValueError, TypeError, KeyError: it is no such object.
        """
        for one in [_read(written, now) for written in state["sent"]]:
            one.sent = {name: at for name, at in one.sent.items() if name in self._receivers}
            self._episodes[one.alert.name, one.alert.subject] = one


def _written(one: _Episode) -> dict[str, Any]:
    times = {"began": _iso(one.began), "ended": _iso(one.ended)}
    alert = {**asdict(one.alert), "since": _iso(one.alert.since)}
    return {**times, "alert": alert, "sent": {name: _iso(at) for name, at in one.sent.items()}}


def _read(written: Mapping[str, Any], now: datetime) -> _Episode:
    names = {field.name for field in fields(Alert)}
    alert = Alert(**{name: value for name, value in written["alert"].items() if name in names})
    return _Episode(
        replace(alert, since=_moment(written["alert"]["since"])),
        datetime.fromisoformat(written["began"]),
        now,
        _moment(written["ended"]),
        {name: datetime.fromisoformat(at) for name, at in written["sent"].items()},
    )


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
