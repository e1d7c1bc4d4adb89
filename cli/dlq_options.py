"""Options of `storelake dlq`: which dead letters a command takes."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.context import parse_instant, read_settings

if TYPE_CHECKING:
    from streaming.sinks.dlq_entries import Selection
    from streaming.sinks.dlq_store import DlqRepository

Rule = Annotated[str | None, typer.Option(metavar="ID", help="Only those that failed this rule.")]
Topic = Annotated[str | None, typer.Option(metavar="TOPIC", help="Only those from this topic.")]
Since = Annotated[
    datetime | None,
    typer.Option(parser=parse_instant, metavar="TIME", help="Only those received since, in UTC."),
]
State = Literal["open", "redriven", "resolved", "superseded", "all"]
Status = Annotated[State, typer.Option(help="Only those with this status.")]
Format = Annotated[Literal["table", "json"], typer.Option("--format", help="Of the output.")]
Identifier = Annotated[str, typer.Argument(metavar="ID", help="Such as order-created/0/42.")]


@contextmanager
def open_store() -> Iterator[DlqRepository]:
    """The dead letters in the database of the settings, for the user of this machine."""
    from getpass import getuser

    from streaming.sinks.dlq_store import open_dead_letters

    with open_dead_letters(read_settings(), f"terminal: {getuser()}") as store:
        yield store


def select(
    rule: str | None,
    topic: str | None,
    since: datetime | None,
    status: State,
    ids: Sequence[str] | None = None,
) -> Selection:
    """The selection that the options describe, for a rule and a topic that exist."""
    from streaming.sinks.dlq_edits import require_known
    from streaming.sinks.dlq_entries import Selection

    selection = Selection(ids, rule, topic, since, None if status == "all" else status)
    require_known(selection, read_settings().kafka.order_topics)
    return selection
