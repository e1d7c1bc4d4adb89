"""Options and values that several commands take."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from conf.settings import Settings

Profile = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="local, full, ...; else the value of STORELAKE_PROFILE."),
]
INSTANTS = ["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M%z", "%Y-%m-%dT%H%z"]
"""Formats of an option that is a time with its zone."""

MOST_NICE = 19
BEHIND_STREAMS = 5
"""Niceness on top of that of the streams."""

OLDEST = timedelta(days=36_500)
_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}


def read_settings(profile: str | None = None) -> Settings:
    """The settings tree.

    Args:
        profile: value of `--profile`; programs that this command starts use it, too.

    Raises:
        SettingsError: an unknown profile, or a value that does not fit.
    """
    from conf.settings import choose_profile, load_settings

    if profile is not None:
        choose_profile(profile)
    return load_settings()


def step_behind_streams(settings: Settings) -> None:
    """Let the streams go first where cores are few; for processes that nobody waits for."""
    from infra.local.process import step_back

    step_back(min(MOST_NICE, settings.streams.niceness + BEHIND_STREAMS))


def parse_age(text: str) -> timedelta:
    """A duration: 30d, 12h, 45m or 90s."""
    found = re.fullmatch(r"(\d{1,6})([dhms])", text)
    if not found:
        raise typer.BadParameter(f"{text!r} is no age: write 30d, 12h, 45m or 90s")
    age = timedelta(**{_UNITS[found[2]]: int(found[1])})
    if age > OLDEST:
        raise typer.BadParameter(f"{text!r} is too long: the longest is {OLDEST.days}d")
    return age


def parse_instant(text: str) -> datetime:
    """An ISO 8601 date or time; in UTC unless it names a zone."""
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no time like 2024-05-01T10:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
