"""`storelake privacy`: erase and export customers."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.app import new_app
from cli.context import read_settings
from infra.terminal import console, progress
from infra.terminal_table import TextTable

if TYPE_CHECKING:
    from datetime import datetime

    from streaming.privacy.erase import ErasedPlace

app = new_app("privacy", "Erase or export what is stored of a customer (docs/PRIVACY.md).")


class InKafka(str, Enum):
    """When messages leave Kafka."""

    RETENTION = "retention"
    NOW = "now"


@app.command()
def erase(
    customer: Annotated[list[str], typer.Option(metavar="ID", help="May be repeated.")],
    kafka: Annotated[
        InKafka,
        typer.Option(
            help="When messages leave Kafka; now: those of others up to the newest one go, too."
        ),
    ] = InKafka.RETENTION,
    report: Annotated[Path | None, typer.Option(help="Write the result as JSON.")] = None,
) -> None:
    """Erase customers from every store, then search every store; streams may run.

    Amounts remain, without the person. Exit code 1 when something is left.
    """
    from streaming.privacy.erase import erase as erase_customer

    settings = read_settings().acting_as("owner")  # who reads every table
    found: list[Sequence[ErasedPlace]] = []
    for number, one in enumerate(dict.fromkeys(customer), 1):
        with progress(f"erasing customer {number}") as notify:
            found.append(erase_customer(settings, one, notify, kafka_now=kafka is InKafka.NOW))
        _show(number, found[-1])
    if report is not None:
        from infra.local.state_files import write_text

        # It names customers by their number in the command: the id is to be nowhere.
        write_text(report, _as_json({"customers": [[*map(asdict, one)] for one in found]}))
    if not all(place.clean for one in found for place in one):
        raise typer.Exit(1)


@app.command()
def export(
    customer: Annotated[str, typer.Option(metavar="ID")],
    out: Annotated[Path | None, typer.Option(help="A file; else standard output.")] = None,
) -> None:
    """Print everything that is stored of a customer, as JSON with times in UTC."""
    from streaming.privacy.export import export as export_customer

    text = _as_json(export_customer(read_settings().acting_as("owner"), customer))
    if out is None:
        typer.echo(text)
    else:
        from infra.local.state_files import write_text

        write_text(out, text)


def _as_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n"


def _show(number: int, places: Sequence[ErasedPlace]) -> None:
    places_table(number, [one for one in places if one.changed or one.left]).show()
    left = sum(one.left for one in places if not one.clean)
    console().print(f"{len(places)} places searched, {left} findings that remain", highlight=False)


def places_table(number: int, places: Sequence[ErasedPlace]) -> TextTable:
    """One row a place at which data of a customer was found."""
    names = ("store", "place", "redacted", "left", "until (UTC)", "note")
    rows = [
        (p.store, p.name, str(p.changed), str(p.left), _minute(p.until), p.note) for p in places
    ]
    numbers, prose = ("redacted", "left"), ("place", "note")
    return TextTable(names, rows, numbers=numbers, prose=prose, title=f"customer {number}")


def _minute(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else ""
