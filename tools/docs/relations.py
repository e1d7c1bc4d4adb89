"""The tables and views of the serving database, read from its migrations.

The SQL of this repository has one form: a table starts with `CREATE TABLE name (` and ends with
`);` on a line of its own, and its comment describes one row. A view has no primary key; its comment
ends with `Key: a, b.` instead. A table or view that is created again replaces the older one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from streaming.lake.ddl import split_top_level

_TABLE = re.compile(r"^CREATE (?:UNLOGGED )?TABLE (\w+) \((.*?)^\);", re.MULTILINE | re.DOTALL)
_VIEW = re.compile(r"^CREATE (?:OR REPLACE )?VIEW (\w+)", re.MULTILINE)
_COMMENT = re.compile(r"^COMMENT ON (?:TABLE|VIEW) (\w+) IS\s+'((?:[^']|'')*)';", re.MULTILINE)
_KEY = re.compile(r"PRIMARY KEY \(([^)]*)\)|^\s*(\w+) [^\n]*\bPRIMARY KEY\b", re.MULTILINE)
_VIEW_KEY = re.compile(r"\s*Key: ([\w, ]+)\.$")
_ALTERED = re.compile(r"^ALTER TABLE (\w+)\s(.*?);$", re.MULTILINE | re.DOTALL)
_COLUMN_COMMENT = re.compile(
    r"^COMMENT ON COLUMN (\w+)\.(\w+) IS\s+'((?:[^']|'')*)';", re.MULTILINE
)
_COLUMN = re.compile(
    r"(?:ADD COLUMN )?(?!ADD|DROP|ALTER|CHECK|PRIMARY|UNIQUE|FOREIGN|CONSTRAINT)(?P<name>\w+) "
    r"(?P<type>[a-z]+(?: precision)?(?:\(\d+(?:, \d+)?\))?(?:\[\])?)(?P<rest>.*)"
)
_CHANGED = re.compile(
    r"ALTER COLUMN (?P<name>\w+) (?:(?P<rule>SET|DROP) NOT NULL|TYPE (?P<type>[\w ,()]+))"
)
# Comments and function bodies define no tables.
_IGNORED = re.compile(r"--[^\n]*|\$\$.*?\$\$", re.DOTALL)


@dataclass(frozen=True)
class ServedColumn:
    """One column of a table."""

    name: str
    type: str
    required: bool
    comment: str


@dataclass(frozen=True)
class Relation:
    """One table or view.

    Attributes:
        name: without a schema.
        kind: `table` or `view`.
        grain: description of one row; empty without a comment.
        key: columns that identify a row.
        columns: of a table; empty for a view, whose SQL has no types.
    """

    name: str
    kind: str
    grain: str
    key: tuple[str, ...]
    columns: tuple[ServedColumn, ...] = ()


def read_relations(migrations: Path) -> list[Relation]:
    """Every table, then every view, in the order of the migrations."""
    files = sorted(migrations.glob("*.sql"))
    text = "\n".join(_IGNORED.sub("", f.read_text(encoding="utf-8")) for f in files)
    grains = {name: words.replace("''", "'") for name, words in _COMMENT.findall(text)}
    altered: dict[str, list[str]] = {}
    for name, body in _ALTERED.findall(text):
        altered.setdefault(name, []).extend(split_top_level(body, "(", ")"))
    remarks = {(t, c): words.replace("''", "'") for t, c, words in _COLUMN_COMMENT.findall(text)}
    tables = []
    for name, body in dict(_TABLE.findall(text)).items():
        key = _key(body)
        parts = [*split_top_level(body, "(", ")"), *altered.get(name, [])]
        columns = _columns(parts, key, {c: w for (t, c), w in remarks.items() if t == name})
        tables.append(Relation(name, "table", grains.get(name, ""), key, columns))
    views = dict.fromkeys(_VIEW.findall(text))
    return tables + [_view(name, grains.get(name, "")) for name in views]


def _columns(
    parts: list[str], key: tuple[str, ...], remarks: dict[str, str]
) -> tuple[ServedColumn, ...]:
    columns: dict[str, ServedColumn] = {}
    for part in parts:
        if change := _CHANGED.match(part):
            column = columns[change["name"]]
            columns[column.name] = (
                replace(column, type=change["type"])
                if change["type"]
                else replace(column, required=change["rule"] == "SET")
            )
        elif found := _COLUMN.fullmatch(part):
            rest = found["rest"].partition("CHECK")[0]
            required = found["name"] in key or "NOT NULL" in rest or "IDENTITY" in rest
            remark = remarks.get(found["name"], "")
            columns[found["name"]] = ServedColumn(found["name"], found["type"], required, remark)
    return tuple(columns.values())


def _key(body: str) -> tuple[str, ...]:
    found = _KEY.search(body)
    return _names(found[1] or found[2]) if found else ()


def _view(name: str, comment: str) -> Relation:
    found = _VIEW_KEY.search(comment)
    return Relation(name, "view", _VIEW_KEY.sub("", comment), _names(found[1]) if found else ())


def _names(listed: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in listed.split(","))
