"""The rows of an answer as text: CSV, JSON, and the cells of a table."""

from __future__ import annotations

import csv
import json
from datetime import date, datetime
from typing import Any, TextIO

from queries.engine import Answer


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


def write_csv(answer: Answer, file: TextIO) -> None:
    """Write CSV with a header; figures have all their digits."""
    out = csv.writer(file, lineterminator="\n")
    out.writerow(answer.columns)
    for row in answer.rows:
        out.writerow([_cell(value) for value in row])


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, (int, float, str)):
        return value
    if isinstance(value, (dict, list)):
        return json.dumps(value, default=_jsonable, ensure_ascii=False)
    return _jsonable(value)


def write_json(answer: Answer, file: TextIO) -> None:
    """Write a JSON array with an object for each row; money is text, a time has a Z."""
    rows = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]
    text = json.dumps(rows, default=_jsonable, ensure_ascii=False, indent=2)
    file.write(f"{text}\n")
