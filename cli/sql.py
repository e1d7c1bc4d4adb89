"""`storelake sql` and `storelake ask`: questions to the lake, on the engine of your choice."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.context import read_settings
from conf.errors import StorelakeError
from conf.terminal import console

if TYPE_CHECKING:
    from queries.engine import Answer


class EngineName(str, Enum):
    """Where a query runs."""

    duckdb = "duckdb"
    spark = "spark"
    trino = "trino"


class Format(str, Enum):
    """How the rows are written."""

    table = "table"
    csv = "csv"
    json = "json"


EngineOption = Annotated[
    EngineName, typer.Option("--engine", help="duckdb needs no server; spark for what is large.")
]
FormatOption = Annotated[
    Format, typer.Option("--format", help="Figures are whole in csv and json.")
]


def sql(
    query: Annotated[str | None, typer.Argument(help="SQL of that engine; - reads it.")] = None,
    *,
    file: Annotated[Path | None, typer.Option(help="A file with the query.")] = None,
    engine: EngineOption = EngineName.duckdb,
    form: FormatOption = Format.table,
) -> None:
    """Ask the lake in SQL; tables are called as in docs/TABLES.md, views as in docs/QUERIES.md."""
    from queries import open_engine

    text = _text(query, file)
    with closing(open_engine(read_settings(), engine.value)) as opened:
        WRITERS[form](opened.ask(text))


def ask(
    name: Annotated[str | None, typer.Argument(help="Of the question; without it, all.")] = None,
    *,
    engine: EngineOption = EngineName.duckdb,
    form: FormatOption = Format.table,
    show: Annotated[bool, typer.Option("--show", help="Only the SQL, for that engine.")] = False,
) -> None:
    """Ask one of the questions of docs/QUERIES.md, or list them."""
    from queries import open_engine
    from queries.ask import ask_question, find_question, questions

    if name is None:
        _list({one.name: one.question for one in questions().values()})
        return
    question = find_question(name)
    if show:
        sys.stdout.write(f"{question.for_engine(engine.value)}\n")
        return
    with closing(open_engine(read_settings(), engine.value)) as opened:
        WRITERS[form](ask_question(opened, question))


def _text(query: str | None, file: Path | None) -> str:
    if file is not None and query is None:
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise StorelakeError(f"{file} cannot be read as text: {error}.") from error
    if query is None or file is not None:
        raise typer.BadParameter("give either a query, or - for standard input, or --file")
    return sys.stdin.read() if query == "-" else query


def _list(found: Mapping[str, str]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    for name, question in found.items():
        table.add_row(name, question)
    console().print(table)


def _write_table(answer: Answer) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(answer.columns):
        numbers = all(
            isinstance(row[index], (int, float, Decimal, type(None))) for row in answer.rows
        )
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in answer.rows:
        table.add_row(*(Text(short(value)) for value in row))
    console().print(table)
    count = len(answer.rows)
    console().print(f"{count} row{'' if count == 1 else 's'}", style="dim", highlight=False)


def short(value: Any) -> str:
    """A value as a table shows it: an instant to the second, a share to four digits."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}".rstrip("0").rstrip(".")
    if isinstance(value, datetime):
        zone = "Z" if value.tzinfo else ""
        return f"{value:%Y-%m-%d %H:%M:%S}{zone}"
    if isinstance(value, (dict, list)):
        return json.dumps(value, default=_jsonable, ensure_ascii=False)
    return str(_jsonable(value) if isinstance(value, bytes) else value)


def _jsonable(value: Any) -> Any:
    if isinstance(value, (datetime, date)):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)  # money, to the cent: a JSON number would be a float


def _write_csv(answer: Answer) -> None:
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(answer.columns)
    for row in answer.rows:
        out.writerow([_cell(value) for value in row])


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, (int, float, str)):
        return value
    if isinstance(value, (dict, list)):
        return json.dumps(value, default=_jsonable, ensure_ascii=False)
    return _jsonable(value)


def _write_json(answer: Answer) -> None:
    rows = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]
    text = json.dumps(rows, default=_jsonable, ensure_ascii=False, indent=2)
    sys.stdout.write(f"{text}\n")


WRITERS: Mapping[Format, Callable[[Answer], None]] = {
    Format.table: _write_table,
    Format.csv: _write_csv,
    Format.json: _write_json,
}
