"""`storelake send`: send simulated orders."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.context import read_settings
from infra.terminal import error_console, is_animated, on_signals, progress
from infra.terminal_table import TextTable

if TYPE_CHECKING:
    from simulator.ledger import SendReport

OUTCOMES = ("accepted", "rejected", "poisoned", "failed", "late", "duplicates", "retries")


def send(
    *,
    rate: Annotated[float | None, typer.Option(min=1, help="Messages a minute.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="Stop after so many.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0, help="Stop after so long.")] = None,
    poison: Annotated[float, typer.Option(min=0, max=1, help="Share that is invalid.")] = 0.0,
    late: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share that is too late to count; not in the first tenth."),
    ] = 0.0,
    duplicates: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share that repeats an event, half past the gateway."),
    ] = 0.0,
    source: Annotated[
        Literal["baskets", "synthetic"], typer.Option(help="Real baskets, or random ones.")
    ] = "baskets",
    version: Annotated[
        int | None, typer.Option(min=1, max=3, help="Of the events; else a mix of all.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed sends the same orders.")] = 1,
    ledger: Annotated[Path | None, typer.Option(help="NDJSON file, a line per message.")] = None,
    run_id: Annotated[str | None, typer.Option(help="Part of all ids; else random.")] = None,
    via: Annotated[
        Literal["gateway", "kafka"],
        typer.Option(help="Target of valid events."),
    ] = "gateway",
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at once.")] = 16,
) -> None:
    """Send grocery baskets as order events.

    Ends at --count, --seconds or Ctrl-C. Invalid events are sent to Kafka, past the gateway.
    """
    from simulator.send import send as run_send
    from simulator.transport import require_targets

    settings = read_settings()
    require_targets(settings, via, straight=poison + duplicates > 0)
    total = count or (int(rate * seconds / 60) if rate and seconds else None)
    with stop_on_ctrl_c() as stop, sending_bar(total) as bar:
        report = run_send(
            settings,
            rate=rate,
            count=count,
            seconds=seconds,
            poison=poison,
            late=late,
            duplicates=duplicates,
            seed=seed,
            source=source,
            version=version,
            run_id=run_id,
            via=via,
            concurrency=concurrency,
            ledger=ledger,
            on_progress=bar.show,
            stop=stop,
        )
    summary_table(report).show()
    if report.failed or report.rejected:
        raise typer.Exit(1)


@contextmanager
def stop_on_ctrl_c() -> Iterator[Event]:
    """An event that Ctrl-C sets in a block, so that what was sent is still counted."""
    stop = Event()
    with on_signals(lambda *_: stop.set(), [signal.SIGINT]):
        yield stop


@dataclass(frozen=True)
class Bar:
    """Progress on standard error; `show` takes the totals of `send`, `notify` a state."""

    show: Callable[[SendReport], None]
    notify: Callable[[str], None]


@contextmanager
def sending_bar(total: int | None) -> Iterator[Bar]:
    """A bar on a terminal, elsewhere lines, during a block."""
    if not is_animated():
        with progress("sending") as step:
            of = f" of {total}" if total else ""
            yield Bar(lambda r: step(f"sending: {r.sent}{of}, {r.failed} failed"), step)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    state = TextColumn("{task.fields[state]}")
    parts = (TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), state)
    with Progress(*parts, console=error_console()) as bar:
        task = bar.add_task("send", total=total, state="")

        def show(report: SendReport) -> None:
            state_text = f"{report.failed} failed, {report.retries} repeats"
            bar.update(task, completed=report.sent, state=state_text)

        yield Bar(show, lambda text: bar.update(task, state=text))


def summary_table(report: SendReport) -> TextTable:
    """Messages by outcome."""
    speed = report.sent / report.seconds if report.seconds else 0.0
    title = f"run {report.run_id}: {report.sent} in {report.seconds:.1f} s, {speed:.0f}/s"
    rows = [(name, str(getattr(report, name))) for name in OUTCOMES]
    for counter, what in (
        (report.by_type, "accepted"),
        (report.by_poison, "poisoned"),
        (report.failures, "rejected or failed"),
    ):
        rows += [(f"  {what}: {name}", str(messages)) for name, messages in sorted(counter.items())]
    return TextTable(("what", "messages"), rows, numbers=("messages",), title=title)
