"""`storelake dlq`: rejected order messages, from the list to the way back."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.context import console, error_console, progress, read_settings
from conf.errors import StorelakeError

if TYPE_CHECKING:
    from streaming.sinks.dead_letter_store import Letter, LetterStore, Selection

app = typer.Typer(
    name="dlq",
    help="Rejected order messages: list, show, fix, send back.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _instant(text: str) -> datetime:
    """An ISO 8601 date or time; without a zone it is in UTC."""
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no time like 2024-05-01T10:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


Rule = Annotated[str | None, typer.Option(metavar="ID", help="Only those that failed this rule.")]
Topic = Annotated[str | None, typer.Option(metavar="TOPIC", help="Only those from this topic.")]
Since = Annotated[
    datetime | None,
    typer.Option(parser=_instant, metavar="TIME", help="Only those received since, in UTC."),
]
Standing = Literal["open", "redriven", "resolved", "superseded", "all"]
Status = Annotated[Standing, typer.Option(help="Where they stand.")]
Format = Annotated[Literal["table", "json"], typer.Option("--format", help="Of the answer.")]
Identifier = Annotated[str, typer.Argument(metavar="ID", help="Such as order-created/0/42.")]


@app.command("list")
def list_letters(
    *,
    rule: Rule = None,
    topic: Topic = None,
    since: Since = None,
    status: Status = "open",
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 50,
    form: Format = "table",
) -> None:
    """List dead letters, the newest first."""
    from cli.letters import as_json, letters_table

    with _letters() as store:
        heads = store.heads(_select(rule, topic, since, status), limit)
    if form == "json":
        typer.echo(as_json(heads))
    elif heads:
        console().print(letters_table(heads))
    else:
        error_console().print("There are no such dead letters.")


@app.command()
def counts(
    topic: Topic = None, since: Since = None, status: Status = "open", form: Format = "table"
) -> None:
    """Count dead letters by rule and topic; one that failed two rules counts in both."""
    from cli.letters import as_json, counts_table

    with _letters() as store:
        found = store.counts(_select(None, topic, since, status))
    if form == "json":
        typer.echo(as_json(found))
    elif found:
        console().print(counts_table(found))
    else:
        error_console().print("There are no such dead letters.")


@app.command()
def show(
    identifier: Identifier,
    raw: Annotated[bool, typer.Option("--raw", help="Only the bytes of the value.")] = False,
) -> None:
    """Show one dead letter: where it stood, what was wrong and where, and what it says."""
    from cli.letters import letter_page
    from streaming.letters import read_id

    with _letters() as store:
        (letter,) = store.get([read_id(identifier)])
    if raw:
        typer.echo(letter.value or b"", nl=False)
    else:
        typer.echo(letter_page(letter))


@app.command()
def fix(
    identifier: Identifier,
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
    original: Annotated[
        bool, typer.Option("--original", help="Start from the value, not from an earlier fix.")
    ] = False,
) -> None:
    """Keep a mended value beside the original, and say what the contract still objects to."""
    from cli.letters import faults_text
    from streaming.letters import read_id
    from streaming.transforms.repair import order_id_of, read_event
    from streaming.validation.contracts import find_faults

    with _letters() as store:
        (letter,) = store.get([read_id(identifier)])
        _must_be_open(letter)
        mended = _mend(letter, assignments or [], value, original=original)
        store.store_fix(letter, mended)
    event = read_event(mended)
    order_id = order_id_of(event)
    console().print(f"Fixed {letter.id}; its key will be {order_id or 'as it was'}.", markup=False)
    faults = find_faults(event)
    if faults:
        typer.echo("The contract still objects:\n" + faults_text(faults))
    else:
        typer.echo("It fits the contract; the stream judges the rest once it is sent back.")


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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Send open dead letters back to their topics: fixed, or as they came."""
    from streaming.letters import read_id
    from streaming.sinks.redrive import Redriver

    if not (identifiers or rule or topic or since or everything):
        raise typer.BadParameter("name some, choose with --rule, --topic or --since, or say --all")
    wanted = [read_id(i) for i in identifiers or []]
    chosen = _select(rule, topic, since, "open", wanted or None)
    with _letters() as store:
        if dry_run:
            _tell_others(store, wanted)
            ids = store.ids(chosen)
            typer.echo("\n".join([*ids, f"{len(ids)} would be sent."]))
            return
        with store.alone():
            _tell_others(store, wanted)
            ids = store.ids(chosen)
            if not ids:
                typer.echo("Nothing to send.")
                return
            with progress("sending") as step:
                report = Redriver(read_settings().kafka).redrive(
                    store, ids, lambda done: step(f"{done} of {len(ids)}")
                )
    for letter, reason in report.refused.items():
        typer.echo(f"{letter} was not sent: {reason}.", err=True)
    for letter, back_as in list(report.sent.items())[:20]:
        typer.echo(f"{letter} -> {back_as}")
    typer.echo(f"{len(report.sent)} sent; the stream says what becomes of them.")
    if report.refused:
        raise typer.Exit(1)


def _letters() -> AbstractContextManager[LetterStore]:
    from streaming.sinks.dead_letter_store import open_letters

    return open_letters(read_settings())


def _select(
    rule: str | None,
    topic: str | None,
    since: datetime | None,
    status: Standing,
    ids: Sequence[str] | None = None,
) -> Selection:
    from streaming.sinks.dead_letter_store import Selection

    if rule is not None:
        from streaming.validation.order_rules import MEANINGS

        if rule not in MEANINGS:
            raise StorelakeError(f"There is no rule {rule}; there are: {', '.join(MEANINGS)}.")
    if topic is not None:
        known = read_settings().kafka.order_topics
        if topic not in known:
            raise StorelakeError(f"{topic} carries no orders; those that do: {', '.join(known)}.")
    return Selection(ids, rule, topic, since, None if status == "all" else status)


def _must_be_open(letter: Letter) -> None:
    if letter.status == "open":
        return
    next_step = {
        "redriven": "it was sent back, so wait for what the stream says",
        "resolved": "what was sent back was good, so nothing is left to fix",
        "superseded": f"what was sent back was rejected again, so fix {letter.superseded_by}",
    }
    raise StorelakeError(f"{letter.id} is {letter.status}: {next_step[letter.status]}.")


def _mend(letter: Letter, sets: Sequence[str], file: Path | None, *, original: bool) -> bytes:
    """The bytes to keep as the fix."""
    from streaming.transforms.repair import read_assignment, read_event, set_path, to_bytes
    from streaming.validation.rules import MAX_VALUE_BYTES

    if not sets and file is None and "key_is_order_id" not in letter.rules:
        raise typer.BadParameter("say what to change: --set PATH=VALUE or --value FILE")
    fixed = None if original else letter.fixed_value
    start = file.read_bytes() if file else letter.value if fixed is None else fixed
    try:
        event = read_event(start)
    except StorelakeError as error:
        what = file or f"{letter.id}"
        raise StorelakeError(
            f"{what} is no JSON ({error}): `storelake dlq show {letter.id} --raw` prints its "
            "bytes; mend them in a file and give it with --value."
        ) from error
    for path, value in map(read_assignment, sets):
        event = set_path(event, path, value)
    mended = to_bytes(event) if sets else start or b""
    if len(mended) > MAX_VALUE_BYTES:
        raise StorelakeError("That is larger than 1 MiB: the stream would reject it again.")
    return mended


def _tell_others(store: LetterStore, wanted: Sequence[str]) -> None:
    """Of the letters that were named: which are not open, and so stay where they are."""
    for letter in store.get(wanted):
        if letter.status != "open":
            typer.echo(f"{letter.id} is {letter.status} and stays where it is.", err=True)
