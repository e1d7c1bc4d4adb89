"""Output of `storelake sql` and `ask`: a table, or text and files with all rows."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

from conf.errors import StorelakeError
from infra.terminal import error_console
from infra.terminal_table import TextTable
from queries.engine import RowStream
from queries.formats import short, write_csv, write_json
from queries.parquet import write_parquet

SHOWN_ROWS = 1_000
"""Rows that a table has at most."""
NUMBER = (int, float, Decimal, type(None))


def print_stream(stream: RowStream, form: str) -> None:
    """Print rows in one of the formats for text."""
    if form == "table":
        _print_table(stream)
    else:
        (write_csv if form == "csv" else write_json)(stream, sys.stdout)


def write_stream(stream: RowStream, form: str, dialect: str, path: Path) -> None:
    """Write rows to a file, which appears when it is whole.

    Args:
        stream: of one query.
        form: csv, json or parquet; a table is written as csv.
        dialect: of the types of the stream.
        path: of the file; overwritten.

    Raises:
        StorelakeError: it cannot be written.
    """
    if path.is_dir():
        raise StorelakeError(f"{path} is a folder: name a file in it.")
    part = path.with_name(f"{path.name}.part")
    try:
        if form == "parquet":
            write_parquet(stream, dialect, part)
        else:
            with part.open("w", encoding="utf-8", newline="") as file:
                (write_json if form == "json" else write_csv)(stream, file)
        part.replace(path)
    except OSError as error:
        raise StorelakeError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        part.unlink(missing_ok=True)


def _print_table(stream: RowStream) -> None:
    rows = list(islice(stream.rows, SHOWN_ROWS))
    more = next(stream.rows, None) is not None
    answer_table(stream.columns, rows).show()
    note = f"{len(rows):,} row{'' if len(rows) == 1 else 's'}"
    if more:
        note = f"These are the first {note}; --format csv, json or parquet has all of them."
    error_console().print(note, style="dim", highlight=False)


def answer_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> TextTable:
    """The table of an answer; text may be wrapped at spaces."""
    by_column = dict(zip(columns, zip(*rows, strict=True), strict=False))
    numbers = [
        name for name, values in by_column.items() if all(isinstance(v, NUMBER) for v in values)
    ]
    prose = [
        name
        for name, values in by_column.items()
        if all(isinstance(v, (str, list, dict, type(None))) for v in values)
    ]
    cells = [[short(value) for value in row] for row in rows]
    return TextTable(columns, cells, numbers=numbers, prose=prose)
