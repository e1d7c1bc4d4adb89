"""`storelake dlq`: list, show, fix and send back rejected order messages."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from cli.app import new_app
from cli.context import read_settings
from cli.dlq_fix import fix
from cli.dlq_options import Format, Identifier, Rule, Since, Status, Topic, open_store, select
from cli.dlq_output import counts_table, heads_table, print_report, print_rows
from infra.terminal import progress

if TYPE_CHECKING:
    from streaming.sinks.dlq_store import DlqRepository
    from streaming.sinks.redrive import RedriveReport

app = new_app("dlq", "Rejected order messages: list, show, fix, send back.")


@app.command("list")
def list_dead_letters(
    *,
    rule: Rule = None,
    topic: Topic = None,
    since: Since = None,
    status: Status = "open",
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    form: Format = "table",
) -> None:
    """List dead letters, the newest first."""
    with open_store() as store:
        rows = store.heads(select(rule, topic, since, status), limit)
    print_rows(rows, form, heads_table)


@app.command()
def counts(
    topic: Topic = None, since: Since = None, status: Status = "open", form: Format = "table"
) -> None:
    """Count dead letters by rule and topic; one that failed two rules counts in both."""
    with open_store() as store:
        rows = store.counts(select(None, topic, since, status))
    print_rows(rows, form, counts_table)


@app.command()
def show(
    identifier: Identifier,
    raw: Annotated[bool, typer.Option("--raw", help="Only the bytes of the value.")] = False,
) -> None:
    """Show one dead letter: status, times, failed rules, headers and value."""
    from cli.dlq_page import page
    from streaming.dlq_ids import read_id

    with open_store() as store:
        entry = store.open(read_id(identifier))
    if raw:
        typer.echo(entry.value or b"", nl=False)
    else:
        typer.echo(page(entry))


app.command()(fix)


@app.command()
def redrive(
    *,
    identifiers: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Such as order-created/0/42.")
    ] = None,
    rule: Rule = None,
    topic: Topic = None,
    since: Since = None,
    everything: Annotated[bool, typer.Option("--all", help="All that are open.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list them.")] = False,
) -> None:
    """Send open dead letters back to their topics: fixed, or as they came."""
    from streaming.dlq_ids import read_id

    if not (identifiers or rule or topic or since or everything):
        raise typer.BadParameter("name some, choose with --rule, --topic or --since, or give --all")
    named = [read_id(i) for i in identifiers or []]
    selection = select(rule, topic, since, "open", named or None)
    with open_store() as store, nullcontext() if dry_run else store.alone():
        for entry in store.get(named):
            if entry.status != "open":
                typer.echo(f"{entry.id} is {entry.status} and is not sent.", err=True)
        ids = store.ids(selection)
        report = None if dry_run or not ids else _send(store, ids)
    if report is not None:
        print_report(report)
        if report.refused:
            raise typer.Exit(1)
    elif dry_run:
        typer.echo("\n".join([*ids, f"{len(ids)} would be sent."]))
    else:
        typer.echo("Nothing to send.")


def _send(store: DlqRepository, ids: Sequence[str]) -> RedriveReport:
    from streaming.sinks.redrive import Redriver

    with progress("sending") as step:
        redriver = Redriver(read_settings().kafka)
        return redriver.redrive(store, ids, lambda done: step(f"{done} of {len(ids)}"))
