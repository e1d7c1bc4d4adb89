"""`storelake sql` and `storelake ask`: queries of the lake on DuckDB, Spark or Trino."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.context import read_settings
from conf.errors import StorelakeError
from infra.terminal import console

if TYPE_CHECKING:
    from queries.engine import Answer


EngineOption = Annotated[
    Literal["duckdb", "spark", "trino"],
    typer.Option("--engine", help="duckdb needs no server; spark for what is large."),
]
FormatOption = Annotated[
    Literal["table", "csv", "json"],
    typer.Option("--format", help="Figures are whole in csv and json."),
]
AtOption = Annotated[
    str | None,
    typer.Option(
        "--at", help="Read as of then: yesterday, 2024-05-01, a tag, or an instant in ISO 8601."
    ),
]


def sql(
    query: Annotated[str | None, typer.Argument(help="SQL of that engine; - reads it.")] = None,
    *,
    file: Annotated[Path | None, typer.Option(help="A file with the query.")] = None,
    engine: EngineOption = "duckdb",
    at: AtOption = None,
    form: FormatOption = "table",
) -> None:
    """Query the lake in SQL.

    Tables have the names of docs/TABLES.md, views those of docs/QUERIES.md.
    """
    _print(_ask(_text(query, file), engine, at), form)


def ask(
    name: Annotated[str | None, typer.Argument(help="Of the question; without it, all.")] = None,
    *,
    engine: EngineOption = "duckdb",
    at: AtOption = None,
    form: FormatOption = "table",
    show: Annotated[bool, typer.Option("--show", help="Only the SQL, for that engine.")] = False,
) -> None:
    """Answer a question of docs/QUERIES.md, or list all."""
    from queries.ask import find_question, questions

    if name is None:
        _list({one.name: one.question for one in questions().values()})
        return
    question = find_question(name)
    if show:
        sys.stdout.write(f"{question.for_engine(engine)}\n")
        return
    _print(_ask(question.for_engine(engine), engine, at), form)


def _ask(query: str, engine: str, at: str | None) -> Answer:
    from queries import open_engine

    settings = read_settings().acting_as("reader")
    with closing(open_engine(settings, engine)) as opened:
        if at is not None:
            from queries.as_of import as_of

            query = as_of(settings, engine, query, at)
        return opened.ask(query)


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


def _print_table(answer: Answer) -> None:
    from rich.table import Table
    from rich.text import Text

    from queries.formats import short

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


def _print(answer: Answer, form: str) -> None:
    from queries.formats import write_csv, write_json

    if form == "table":
        _print_table(answer)
    else:
        (write_csv if form == "csv" else write_json)(answer, sys.stdout)
