"""`storelake sql` and `storelake ask`: queries of the lake on DuckDB, Spark or Trino."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.context import read_settings
from conf.errors import StorelakeError
from infra.terminal_table import TextTable

if TYPE_CHECKING:
    from queries.engine import RowStream


EngineOption = Annotated[
    Literal["duckdb", "spark", "trino"],
    typer.Option("--engine", help="duckdb needs no server; spark for what is large."),
]
FormatOption = Annotated[
    Literal["table", "csv", "json", "parquet"],
    typer.Option("--format", help="csv, json and parquet have all rows and digits."),
]
OutOption = Annotated[Path | None, typer.Option("--out", help="Write to this file.")]
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
    out: OutOption = None,
) -> None:
    """Query the lake in SQL.

    Tables have the names of docs/TABLES.md, views those of docs/QUERIES.md.
    """
    _answer(_text(query, file), engine, at, form, out)


def ask(
    name: Annotated[str | None, typer.Argument(help="Of the question; without it, all.")] = None,
    *,
    engine: EngineOption = "duckdb",
    at: AtOption = None,
    form: FormatOption = "table",
    out: OutOption = None,
    show: Annotated[bool, typer.Option("--show", help="Only the SQL, for that engine.")] = False,
) -> None:
    """Answer a question of docs/QUERIES.md, or list all."""
    from queries.ask import find_question, questions

    if name is None:
        rows = [(one.name, one.question) for one in questions().values()]
        TextTable(("name", "question"), rows, prose=("question",)).show()
        return
    question = find_question(name)
    if show:
        sys.stdout.write(f"{question.for_engine(engine)}\n")
        return
    _answer(question.for_engine(engine), engine, at, form, out)


@contextmanager
def _rows(query: str, engine: str, at: str | None) -> Iterator[RowStream]:
    from queries import open_engine

    settings = read_settings().acting_as("reader")
    with closing(open_engine(settings, engine)) as opened:
        if at is not None:
            from queries.as_of import as_of

            query = as_of(settings, engine, query, at)
        with opened.stream(query) as stream:
            yield stream


def _text(query: str | None, file: Path | None) -> str:
    if (query is None) == (file is None):
        raise typer.BadParameter("give either a query, or - for standard input, or --file")
    if query is not None and query != "-":
        return query
    try:
        return (file.read_bytes() if file else sys.stdin.buffer.read()).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        name = file or "standard input"
        raise StorelakeError(f"{name} cannot be read as text: {error}.") from error


def _answer(query: str, engine: str, at: str | None, form: str, out: Path | None) -> None:
    if form == "parquet" and out is None:
        raise typer.BadParameter("give --out FILE: Parquet is no text")
    with _rows(query, engine, at) as stream:
        from cli.answers import print_stream, write_stream

        if out is None:
            print_stream(stream, form)
        else:
            write_stream(stream, form, engine, out)
