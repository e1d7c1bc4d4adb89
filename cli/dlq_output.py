"""Output of `storelake dlq`: tables, JSON, and the page of one dead letter."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

import typer

from infra.terminal import error_console
from infra.terminal_table import TextTable

if TYPE_CHECKING:
    from streaming.sinks.dlq_entries import Count, DlqSummary
    from streaming.sinks.redrive import RedriveReport

SHOWN = 20
"""How many of the messages that were sent back are listed."""
MINUTE = "%Y-%m-%d %H:%M"

Row = TypeVar("Row", "DlqSummary", "Count")


def print_rows(rows: Sequence[Row], form: str, table: Callable[[Sequence[Row]], TextTable]) -> None:
    """Print rows as JSON or as a table."""
    if form == "json":
        plain = [asdict(row) for row in rows]
        typer.echo(json.dumps(plain, indent=2, default=instant, ensure_ascii=False))
    elif rows:
        table(rows).show()
    else:
        error_console().print("There are no such dead letters.")


def instant(moment: datetime) -> str:
    """ISO 8601 in UTC, with a Z."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def heads_table(heads: Sequence[DlqSummary]) -> TextTable:
    """One row a dead letter."""
    rows = [
        (h.id, h.status, f"{h.received_at:{MINUTE}}", h.order_id or "", ", ".join(h.rules))
        for h in heads
    ]
    names = ("id", "status", "received (UTC)", "order", "rules")
    return TextTable(names, rows, prose=("rules",))


def counts_table(counts: Sequence[Count]) -> TextTable:
    """One row a rule and topic."""
    rows = [
        (c.rule, c.topic, str(c.dead_letters), f"{c.oldest:{MINUTE}}", f"{c.newest:{MINUTE}}")
        for c in counts
    ]
    names = ("rule", "topic", "count", "oldest (UTC)", "newest (UTC)")
    return TextTable(names, rows, numbers=("count",))


def print_report(report: RedriveReport) -> None:
    """Print which dead letters were sent back as what, and which were not."""
    for entry, reason in report.refused.items():
        typer.echo(f"{entry} was not sent: {reason}.", err=True)
    for entry, back_as in list(report.sent.items())[:SHOWN]:
        typer.echo(f"{entry} -> {back_as}")
    typer.echo(f"{len(report.sent)} sent; the stream reports what becomes of them.")
