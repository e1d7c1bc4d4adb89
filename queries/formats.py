"""The rows of a query as text: CSV, JSON, and the cells of a table."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from datetime import date, datetime
from itertools import count
from math import isfinite
from typing import Any, TextIO

from queries.engine import RowStream


def short(value: Any) -> str:
    """A value as a table shows it: an instant to the second, a share to four digits."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}".rstrip("0").rstrip(".")
    if isinstance(value, datetime):
        zone = "Z" if value.tzinfo else ""
        return f"{value:%Y-%m-%d %H:%M:%S}{zone}"
    return str(as_text(value))


def as_text(value: Any) -> str | None:
    """A value with all its digits; a struct, an array and a map as JSON, a time in ISO 8601."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(_for_json(value), default=_jsonable, ensure_ascii=False)
    return str(value) if isinstance(value, (int, float)) else _jsonable(value)


def _jsonable(value: Any) -> str:
    if isinstance(value, (datetime, date)):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)  # money, to the cent: a JSON number would be a float


def distinct(columns: Sequence[str]) -> list[str]:
    """Names of which none occurs twice: the second `a` is `a_2`, or the next that is free."""
    names: list[str] = []
    for column in columns:
        numbered = (f"{column}_{number}" for number in count(2))
        free = (name for name in numbered if name not in {*columns, *names})
        names.append(next(free) if column in names else column)
    return names


def write_csv(stream: RowStream, file: TextIO) -> None:
    """Write CSV with a header, row by row; figures have all their digits."""
    out = csv.writer(file, lineterminator="\n")
    out.writerow(stream.columns)
    out.writerows(map(as_text, row) for row in stream.rows)


def write_json(stream: RowStream, file: TextIO) -> None:
    """Write a JSON array with an object a line for each row; money is text, a time has a Z."""
    names, comma = distinct(stream.columns), ""
    file.write("[")
    for row in stream.rows:
        values = dict(zip(names, map(_for_json, row), strict=True))
        file.write(f"{comma}\n{json.dumps(values, default=_jsonable, ensure_ascii=False)}")
        comma = ","
    file.write("\n]\n")


def _for_json(value: Any) -> Any:
    """JSON has no infinity and no NaN, and a date is no key: they become text, at every depth."""
    if isinstance(value, dict):
        return {_key(key): _for_json(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_for_json(inner) for inner in value]
    return str(value) if isinstance(value, float) and not isfinite(value) else value


def _key(key: Any) -> Any:
    return key if isinstance(key, (str, int, float, type(None))) else as_text(key)
