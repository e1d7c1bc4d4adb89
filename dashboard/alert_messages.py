"""Notices as a webhook's body and as a mail."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from datetime import datetime, timezone
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from typing import Any

from dashboard.alert_log import Notice
from dashboard.words import plural

NEVER = "0001-01-01T00:00:00Z"
"""As Alertmanager has it for an alert that is open."""
LONGEST_SUBJECT = 200


def webhook_body(notices: Sequence[Notice], receiver: str, url: str) -> dict[str, Any]:
    """The webhook format of Alertmanager, version 4.

    Source: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config.

    Args:
        notices: at least one.
        receiver: its name.
        url: of the console.
    """
    status = _status(notices)
    return {
        "version": "4",
        "groupKey": "{}:{}",
        "truncatedAlerts": 0,
        "status": status,
        "receiver": receiver,
        "groupLabels": {},
        "commonLabels": _common([_labels(notice) for notice in notices]),
        "commonAnnotations": _common([_annotations(notice) for notice in notices]),
        "externalURL": url,
        "alerts": [_alert(notice, url) for notice in notices],
    }


def _alert(notice: Notice, url: str) -> dict[str, Any]:
    labels = _labels(notice)
    return {
        "status": "resolved" if notice.ended else "firing",
        "labels": labels,
        "annotations": _annotations(notice),
        "startsAt": _rfc3339(notice.began),
        "endsAt": _rfc3339(notice.ended) if notice.ended else NEVER,
        "generatorURL": f"{url}/#alerts",
        "fingerprint": hashlib.sha256(repr(sorted(labels.items())).encode()).hexdigest()[:16],
    }


def _labels(notice: Notice) -> dict[str, str]:
    alert = notice.alert
    labels = {"alertname": alert.name, "severity": alert.severity, "subject": alert.subject}
    return labels | ({"branch": alert.branch_id} if alert.branch_id else {})


def _annotations(notice: Notice) -> dict[str, str]:
    return {"summary": notice.alert.summary, "action": notice.alert.action}


def _common(all_pairs: Sequence[dict[str, str]]) -> dict[str, str]:
    first, *others = all_pairs
    return {
        name: text
        for name, text in first.items()
        if all(other.get(name) == text for other in others)
    }


def _status(notices: Sequence[Notice]) -> str:
    return "resolved" if all(notice.ended for notice in notices) else "firing"


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def mail(
    notices: Sequence[Notice], sender: str, recipients: Sequence[str], url: str, now: datetime
) -> EmailMessage:
    """One mail about all of them; text of the data cannot add a header or a line."""
    message = EmailMessage()
    message["Subject"] = one_line(_subject(notices))[:LONGEST_SUBJECT]
    message["From"], message["To"] = sender, ", ".join(recipients)
    message["Date"] = format_datetime(now)
    message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2])
    message["Auto-Submitted"] = "auto-generated"
    parts = ["\n".join(one_line(line) for line in _lines(notice)) for notice in notices]
    message.set_content("\n\n".join([*parts, f"{url}/#alerts"]) + "\n")
    return message


def _subject(notices: Sequence[Notice]) -> str:
    if len(notices) > 1:
        still_open = sum(notice.ended is None for notice in notices)
        ended = len(notices) - still_open
        counts = [plural(still_open, "alert")] * bool(still_open) + [f"{ended} ended"] * bool(ended)
        return f"[storelake] {', '.join(counts)}"
    (notice,) = notices
    state = "ended" if notice.ended else notice.alert.severity
    return f"[storelake] {state}: {notice.alert.name} {notice.alert.subject}"


def _lines(notice: Notice) -> list[str]:
    alert, began = notice.alert, f"since {notice.began:%Y-%m-%d %H:%M:%S} UTC"
    state = f"ended {notice.ended:%Y-%m-%d %H:%M:%S} UTC" if notice.ended else alert.severity
    return [f"{alert.name} ({state}), {alert.subject}, {began}", alert.summary, alert.action]


def one_line(text: str) -> str:
    """Without line breaks, control and format characters (Unicode categories C*, Zl, Zp)."""
    kept = (
        " " if char in "\r\n\t" or unicodedata.category(char) in ("Zl", "Zp") else char
        for char in text
    )
    return "".join(char for char in kept if not unicodedata.category(char).startswith("C"))
