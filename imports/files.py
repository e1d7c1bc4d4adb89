"""Orders in files -> messages of the order topics.

CSV, and Parquet without a column `items`: a row is a line of an order. Columns are the fields of an
order, of an event where there are some, and with the prefix `item_` those of a line; rows with
equal order columns are one order. A cell is a text, a number, true or false; a list is JSON.
Parquet with `items`: a row is an event, as in `silver.orders`. NDJSON: an event or a bare order per
line. What is no event becomes an `order.created` at its `created_at`, whose event_id follows from
the order: so a file that is sent again adds nothing. Without a status it is completed. Times are
in UTC.
"""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import duckdb
import msgspec

from conf.contracts.fields import contract_fields
from conf.contracts.order_event import VERSIONS, ItemV3, OrderEventV3, OrderV3
from conf.errors import StorelakeError
from conf.strict_json import no_number

_NAMESPACE = UUID("4b1ad0d5-0f4e-4f52-8d2c-6e6f6a1f7a52")
_TEXTS = ("text", "uuid", "instant", "choice")
_ENVELOPE = {f.name: f.kind for f in contract_fields(OrderEventV3) if f.name != "order"}
_ORDER = {f.name: f.kind for f in contract_fields(OrderV3) if f.name != "items"}
_LINE = {f.name: f.kind for f in contract_fields(ItemV3)}
_PREFIX = "item_"
_REQUIRED = ("order_id", "branch_id", "created_at")
# DuckDB takes an order_id of `#1` for a comment, unless it has no character for comments.
_CSV: Mapping[str, Any] = {
    **dict.fromkeys(("header", "all_varchar", "null_padding"), True),
    "comment": "",
    "parallel": False,
}
"""Options of a CSV: every row is read, one that is too short with nulls, for validation."""
_NO_JSON = (ValueError, RecursionError, ArithmeticError)
"""What Python's parser raises, with `Decimal` for numbers."""
_to_json = msgspec.json.Encoder(decimal_format="number").encode


class OrderImportError(StorelakeError):
    """A file cannot be read, or sent; the message names the reason."""


@dataclass(frozen=True)
class OrderMessage:
    """A message to send. `key` and `event_type` are None where it names none."""

    key: str | None
    event_type: str | None
    value: bytes


def read_orders(path: Path) -> Iterator[OrderMessage]:
    """The messages of a file, each time in the same order: that of the file, or of `created_at`.

    Raises:
        OrderImportError: the file does not exist, or is no CSV, NDJSON or Parquet with orders.
    """
    try:
        suffix = path.suffix.lower()
        if suffix in (".ndjson", ".jsonl"):
            with path.open("rb") as lines:
                lines.seek(len(BOM_UTF8) if lines.read(len(BOM_UTF8)) == BOM_UTF8 else 0)
                yield from (_of_line(line) for line in lines if line.strip())
        elif suffix in (".csv", ".parquet"):
            yield from map(_of_row, _rows(path))
        else:
            raise OrderImportError(f"{path}: orders come as .csv, .ndjson, .jsonl or .parquet.")
    except (OSError, duckdb.Error) as error:
        raise OrderImportError(f"{path} cannot be read: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """What is wrong and where, without the row itself and the options of DuckDB."""
    lines = str(error).split("\nPossible ")[0].splitlines()
    return ". ".join(one for one in lines if one and not one.startswith("Original Line"))


def _of_line(line: bytes) -> OrderMessage:
    """An event or a bare order; anything else as it is, which validation rejects."""
    value = line.strip()
    try:
        found = json.loads(value, parse_float=Decimal, parse_constant=no_number)
    except _NO_JSON:
        found = None
    if not isinstance(found, dict) or "order" in found or "order_id" not in found:
        order = found.get("order") if isinstance(found, dict) else None
        return _as_it_is(value, found, order)
    try:
        return _event({}, found)
    except UnicodeEncodeError:  # half a character, which no message can have
        return _as_it_is(value)


def _as_it_is(value: bytes, event: Any = None, order: Any = None) -> OrderMessage:
    key, event_type = _names(event, order)
    try:
        (key or "").encode()
    except UnicodeEncodeError:
        key = None
    return OrderMessage(key, event_type, value)


def _of_row(row: Mapping[str, Any]) -> OrderMessage:
    return _event(_fields(row, _ENVELOPE), _fields(row, _ORDER) | {"items": row["items"]})


def _event(given: Mapping[str, Any], order: Mapping[str, Any]) -> OrderMessage:
    event = {
        "event_type": "order.created",
        "event_time": order.get("created_at"),
        "schema_version": VERSIONS[-1],
        "source": "import",
        **given,
        "order": {"status": "completed", **order},
    }
    identity = [event["event_type"], *(order.get(name) for name in _REQUIRED)]
    if event["event_time"] != order.get("created_at"):
        identity.append(event["event_time"])
    if (status := event["order"]["status"]) != "completed":
        identity.append(status)  # of one order several states may be given
    event.setdefault("event_id", str(uuid5(_NAMESPACE, json.dumps(identity, default=str))))
    return OrderMessage(*_names(event, order), _to_json(event))


def _names(event: Any, order: Any) -> tuple[str | None, str | None]:
    """The key and the type of an event, where they are texts."""
    pairs = ((order, "order_id"), (event, "event_type"))
    found = (part.get(name) if isinstance(part, dict) else None for part, name in pairs)
    key, event_type = (one if isinstance(one, str) else None for one in found)
    return key, event_type


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """Orders with their fields as texts, and `items`; DuckDB spills what memory does not hold."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        given = (
            connection.read_csv(str(path), **_CSV)
            if path.suffix.lower() == ".csv"
            else connection.read_parquet(str(path))
        )
        kinds = dict(zip(given.columns, map(str, given.types), strict=True))
        if missing := [name for name in _REQUIRED if name not in kinds]:
            raise OrderImportError(f"{path} has no column {', '.join(missing)}.")
        given.create_view("given")
        if "items" not in kinds:
            _require_whole_orders(connection, path, kinds)
        found = connection.execute(_query(kinds))
        names = [column[0] for column in found.description or ()]
        while rows := found.fetchmany(1000):
            for row in rows:
                order = dict(zip(names, row, strict=True))
                yield order | {"items": _items(order["items"])}


def _require_whole_orders(
    connection: duckdb.DuckDBPyConnection, path: Path, kinds: Mapping[str, str]
) -> None:
    """Make sure that the rows of an order differ in columns of lines only.

    Else they would become two messages of one order, of which the sinks keep one.

    Raises:
        OrderImportError: names an order and the columns.
    """
    named, texts = _columns(kinds)
    same = [name for name in (*_ENVELOPE, *_REQUIRED) if name in kinds]
    # S608: names of columns are those of the contract.
    rows = connection.execute(
        f"""SELECT * FROM (SELECT DISTINCT {texts} FROM given)
        WHERE {" AND ".join(f"{name} IS NOT NULL" for name in _REQUIRED)}
        QUALIFY count(*) OVER (PARTITION BY {", ".join(same)}) > 1
        ORDER BY {", ".join(same)} LIMIT 2"""  # noqa: S608
    ).fetchall()
    if rows:
        first, second = (dict(zip(named, row, strict=True)) for row in rows)
        others = [name for name in named if first[name] != second[name]]
        raise OrderImportError(
            f"{path}: the rows of order {first['order_id']} differ in {', '.join(others)}, which "
            f"are of the order: give them the same value in each row, or name the column "
            f"{_PREFIX}... if it is of the line."
        )


def _items(found: Any) -> Any:
    """Lines with their fields; of a text its JSON, and anything else as it is, for validation."""
    if isinstance(found, str):
        return _typed(found, "list")
    if not isinstance(found, list):
        return found
    return [_fields(one, _LINE) if isinstance(one, dict) else one for one in found]


def _query(kinds: Mapping[str, str]) -> str:
    # S608: names of columns are those of the contract.
    named, texts = _columns(kinds)
    if "items" in kinds:
        return f"SELECT {texts}, items FROM given ORDER BY created_at, order_id"  # noqa: S608
    lines = [name for name in _LINE if _PREFIX + name in kinds]
    items = ", ".join(f"{name} := {_text(_PREFIX + name, kinds)}" for name in lines)
    return f"""
        SELECT {", ".join(named)}, list(line ORDER BY n) AS items
        FROM (SELECT row_number() OVER () AS n, {texts}, struct_pack({items}) AS line FROM given)
        GROUP BY ALL ORDER BY created_at, min(n)"""  # noqa: S608


def _columns(kinds: Mapping[str, str]) -> tuple[list[str], str]:
    """The columns of events and orders that a file has, and their SQL as texts."""
    named = [name for name in (*_ENVELOPE, *_ORDER) if name in kinds]
    return named, ", ".join(f"{_text(name, kinds)} AS {name}" for name in named)


def _text(name: str, kinds: Mapping[str, str]) -> str:
    if kinds[name].startswith("TIMESTAMP"):
        return f"strftime({name}, '%Y-%m-%dT%H:%M:%S.%fZ')"
    return f"CAST({name} AS VARCHAR)"


def _fields(row: Mapping[str, Any], kinds: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a contract that a row has, in their types."""
    found = {name: row[name] for name in kinds if row.get(name) not in (None, "")}
    return {name: _typed(value, kinds[name]) for name, value in found.items()}


def _typed(value: Any, kind: str) -> Any:
    """A cell of a field; a text that does not fit remains one, which validation rejects."""
    if kind in _TEXTS or not isinstance(value, str):
        return str(value) if kind in _TEXTS else value
    try:
        return json.loads(value, parse_float=Decimal, parse_constant=no_number)
    except _NO_JSON:
        return value
