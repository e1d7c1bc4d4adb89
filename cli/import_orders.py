"""`storelake import`: orders of the past, from files."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.app import new_app
from cli.context import read_settings
from infra.terminal import console, progress

if TYPE_CHECKING:
    from collections import Counter

app = new_app("import", "Bring in the history of another system.")


@app.callback()
def _group() -> None:
    """Bring in the history of another system."""


@app.command()
def orders(
    files: Annotated[list[Path], typer.Argument(help="CSV, NDJSON or Parquet.")],
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be accepted and rejected.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="From the beginning; else from where a call ended.")
    ] = False,
) -> None:
    """Send orders of the past through validation; none is late.

    Rejected ones are listed by `storelake dlq`. An interrupted file continues where it ended.
    """
    from imports.orders import send_orders, try_orders

    settings = read_settings()
    for path in files:
        with progress(f"{path.name}") as show:

            def notify(done: int, name: str = path.name) -> None:
                show(f"{name}: {done} messages")

            outcomes = (
                try_orders(settings, path, notify)
                if dry_run
                else send_orders(settings, path, notify, again=again)
            )
        _print(path, outcomes, "would be" if dry_run else "sent:")


def _print(path: Path, outcomes: Counter[str], verb: str) -> None:
    if not outcomes:
        console().print(
            f"{path.name}: nothing left to send; --again sends it once more", highlight=False
        )
    for outcome, count in outcomes.most_common():
        what = outcome if outcome == "accepted" else f"rejected by {outcome}"
        console().print(f"{path.name}: {count} {verb} {what}", highlight=False)
