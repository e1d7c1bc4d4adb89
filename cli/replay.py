"""`storelake replay`: publish recorded detection events, without a camera or a model."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.context import read_settings
from infra.terminal import console, error_console, on_signals, progress

if TYPE_CHECKING:
    from inference_service.replay import Recording

REPORT_EVERY = 500
SHOWN_FAULTS = 5


def replay(
    file: Annotated[Path, typer.Argument(help="NDJSON, as infer --publisher ndjson writes it.")],
    *,
    speed: Annotated[float, typer.Option(min=0.01, help="2 is twice as fast as recorded.")] = 1.0,
    as_fast_as_possible: Annotated[
        bool, typer.Option("--as-fast-as-possible", help="Without pauses; instead of --speed.")
    ] = False,
    shift_to_now: Annotated[
        bool,
        typer.Option(
            "--shift-to-now",
            help="As a new run that ends when its last event is sent, with ids of its own; else "
            "every event is published as it was recorded.",
        ),
    ] = False,
    broker: Annotated[
        Literal["kafka", "pulsar"] | None,
        typer.Option(help="Where to; else the setting of the publisher."),
    ] = None,
) -> None:
    """Publish a recording of detection events at any speed."""
    from datetime import datetime, timezone

    from conf.logs import configure_logging
    from conf.settings import SettingsError
    from inference_service.publishers import open_publisher
    from inference_service.replay import AS_FAST_AS_POSSIBLE, Shift, open_recording, play

    settings = read_settings()
    name = broker or settings.inference.publisher
    if name == "ndjson":
        raise SettingsError("a recording is replayed to a broker: pass --broker kafka or pulsar")
    configure_logging("replay", settings.log_level)
    recording = open_recording(file)
    _print_faults(recording)
    pace = AS_FAST_AS_POSSIBLE if as_fast_as_possible else speed
    stopping = Event()
    # After the event at hand; what was sent is acknowledged.
    ended = on_signals(lambda *_: stopping.set())
    with progress(f"replaying {recording.events} events") as show, ended:

        def report(count: int) -> None:
            if count % REPORT_EVERY == 0 or count == recording.events:
                show(f"{count} of {recording.events} events")

        publisher = open_publisher(settings, name, stopping=stopping)
        try:
            now = datetime.now(tz=timezone.utc)
            shift = Shift.to_now(recording, pace, now) if shift_to_now else None
            count = play(
                recording, publisher, speed=pace, shift=shift, stopping=stopping, report=report
            )
        finally:
            publisher.close()
    span = (recording.last - recording.first).total_seconds()
    console().print(
        f"{count} of {recording.events} events published, {publisher.delivered} acknowledged; "
        f"{span:.1f} s of recording, {recording.skipped} lines skipped",
        highlight=False,
    )


def _print_faults(recording: Recording) -> None:
    for fault in recording.faults[:SHOWN_FAULTS]:
        error_console().print(
            f"{recording.path}, line {fault.line} is skipped: {fault.reason}",
            style="yellow",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    more = recording.skipped - SHOWN_FAULTS
    if more > 0:
        error_console().print(f"... and {more} more lines", style="yellow", highlight=False)
