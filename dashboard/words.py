"""How figures, money and moments are written for people."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import ROUND_HALF_UP, Decimal
from zoneinfo import ZoneInfo

from markupsafe import Markup, escape

from conf.contracts.currencies import smallest_unit

UNKNOWN = "not known"


def count(value: int | None) -> str:
    """With commas: 1,234."""
    return UNKNOWN if value is None else f"{value:,}"


def money(value: Decimal | None, currency: str | None) -> str:
    """To the smallest unit of the currency, with its code: 1,234.50 USD, 1,235 JPY."""
    if value is None:
        return UNKNOWN
    rounded = value.quantize(smallest_unit(currency or ""), ROUND_HALF_UP)
    return f"{rounded:,} {currency or ''}".rstrip()


def with_code(text: str) -> Markup:
    """HTML of a text, in which what stands between backticks is code."""
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part)
        for number, part in enumerate(text.split("`"))
    )


def percent(share: float | None) -> str:
    """One place after the point: 12.3 %."""
    return UNKNOWN if share is None else f"{100 * share:.1f} %"


def mean(value: float | None) -> str:
    """One place after the point: 1,234.5."""
    return UNKNOWN if value is None else f"{value:,.1f}"


def seconds(value: float | None) -> str:
    """As short as it can be understood: 0.84 s, 42 s, 3 min 5 s, 2 h 10 min."""
    if value is None:
        return UNKNOWN
    if value < 10:
        return f"{value:.2g} s" if value >= 0.1 or value == 0 else "under 0.1 s"
    minutes, rest = divmod(round(value), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def minutes(value: float) -> str:
    """Minutes as short as it can be understood: 1,234, 12, 1.2, 0.05."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def ago(moment: datetime, now: datetime) -> str:
    """Coarse, so that a page does not change with every second: just now, 3 min ago."""
    passed = max(now - moment, timedelta(0))
    if passed < timedelta(seconds=10):
        return "just now"
    if passed < timedelta(minutes=1):
        return f"{int(passed.total_seconds()) // 10 * 10} s ago"
    if passed < timedelta(hours=2):
        return f"{int(passed / timedelta(minutes=1))} min ago"
    if passed < timedelta(days=2):
        return f"{int(passed / timedelta(hours=1))} h ago"
    return f"{passed.days} days ago"


def utc(moment: datetime, now: datetime) -> str:
    """A moment in UTC: the time, and the day where it is not today."""
    moment, now = moment.astimezone(timezone.utc), now.astimezone(timezone.utc)
    day = "" if moment.date() == now.date() else f"{moment:%d %b %Y} "
    return f"{day}{moment:%H:%M:%S} UTC"


def local(moment: datetime, zone: str) -> str:
    """The time of the day where a branch is, without the name of its zone."""
    return f"{moment.astimezone(ZoneInfo(zone)):%H:%M}"


def plural(number: int, one: str, many: str | None = None) -> str:
    """1 order, 2 orders."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
