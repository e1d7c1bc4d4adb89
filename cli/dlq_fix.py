"""`storelake dlq fix`: edit one rejected order message, or all of a rule."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.dlq_options import Rule, Since, Topic, open_store, select
from infra.terminal import console

if TYPE_CHECKING:
    from streaming.sinks.dlq_entries import DlqEntry, Selection
    from streaming.sinks.dlq_store import DlqRepository

SHOWN = 5
"""How many differences are shown before many messages are edited."""


def fix(
    *,
    identifier: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Such as order-created/0/42.")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="PATH=VALUE", help="Such as order.items[0].quantity=2; JSON or text."
        ),
    ] = None,
    value: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="A file to take instead of the value."),
    ] = None,
    edit: Annotated[bool, typer.Option("--edit", help="Open the value in $EDITOR.")] = False,
    original: Annotated[
        bool, typer.Option("--original", help="Start from the value, not from an earlier fix.")
    ] = False,
    rule: Rule = None,
    topic: Topic = None,
    since: Since = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Of many: only show what would change.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Of many: do not ask first.")] = False,
) -> None:
    """Store an edited value beside the original, and print what still violates the contract.

    Without an ID, --set edits all open dead letters of --rule, --topic or --since.
    """
    changes = assignments or []
    if identifier is not None:
        if rule or topic or since or dry_run:
            raise typer.BadParameter("--rule, --topic, --since and --dry-run are for many")
        _fix_one(identifier, changes, value, edit=edit, original=original)
    elif not (rule or topic or since):
        raise typer.BadParameter("name one, or choose with --rule, --topic or --since")
    elif not changes or value or edit or original:
        raise typer.BadParameter("many are edited by --set PATH=VALUE, and by nothing else")
    else:
        with open_store() as store:
            _fix_many(store, select(rule, topic, since, "open"), changes, dry_run, yes)


def _fix_one(
    identifier: str, changes: Sequence[str], value: Path | None, *, edit: bool, original: bool
) -> None:
    from streaming.dlq_ids import read_id
    from streaming.sinks.dlq_edits import edited_value, needs_no_edit, require_open

    with open_store() as store:
        entry = store.open(read_id(identifier))
        require_open(entry)
        if edit:
            _edit_one(store, entry, original=original)
            return
        if not changes and value is None and not needs_no_edit(entry):
            raise typer.BadParameter("give a change: --edit, --set PATH=VALUE or --value FILE")
        edited = edited_value(entry, changes, value, original=original)
        store.store_fix(entry, edited)
    _print_fixed(entry.id, edited)


def _edit_one(store: DlqRepository, entry: DlqEntry, *, original: bool) -> None:
    from infra.editor import in_editor
    from streaming.sinks.dlq_edits import text_to_edit, value_of_text

    text = text_to_edit(entry, original=original)
    with in_editor(text.encode(), value_of_text) as edited:
        if edited is None:
            typer.echo("Nothing was changed, and nothing is stored.")
            return
        value = value_of_text(edited)
        store.store_fix(entry, value)
    _print_fixed(entry.id, value)


def _print_fixed(entry: str, edited: bytes) -> None:
    from cli.dlq_page import faults_text
    from streaming.transforms.repair import order_id_of, read_event
    from streaming.validation.contracts import find_faults

    event = read_event(edited)
    key = order_id_of(event) or "as it was"
    console().print(f"Fixed {entry}; its key will be {key}.", markup=False)
    if faults := find_faults(event):
        typer.echo("The contract still objects:\n" + faults_text(faults))
    else:
        typer.echo("It fits the contract; the stream validates it again once it is sent back.")


def _fix_many(
    store: DlqRepository, selection: Selection, changes: Sequence[str], dry_run: bool, yes: bool
) -> None:
    from infra.terminal import printable
    from streaming.sinks.dlq_edits import differences, fix_all

    ids = store.ids(selection)
    for line in differences(store.get(ids[:SHOWN]), changes):
        typer.echo(printable(line))
    typer.echo(f"{len(ids):,} dead letters would be edited, of which {SHOWN} are shown at most.")
    if dry_run or not ids:
        return
    if not yes:
        typer.confirm("Store these edits?", abort=True)
    refused = fix_all(store, ids, changes)
    for entry, reason in refused.items():
        typer.echo(printable(f"{entry} was not edited: {reason}"), err=True)
    typer.echo(f"{len(ids) - len(refused):,} edited; `storelake dlq redrive` sends them back.")
    if refused:
        raise typer.Exit(1)
