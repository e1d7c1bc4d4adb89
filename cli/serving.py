"""The tables and views of the serving database, as its migrations define them: for docs/TABLES.md.

Reads the SQL of this repository, which is written in one way: a table starts with `CREATE TABLE
name (` and ends with a `);` of its own line, and its comment says what one row is. A view has no
primary key; its comment ends with `Key: a, b.` instead.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_TABLE = re.compile(r"^CREATE (?:UNLOGGED )?TABLE (\w+) \((.*?)^\);", re.MULTILINE | re.DOTALL)
_VIEW = re.compile(r"^CREATE (?:OR REPLACE )?VIEW (\w+)", re.MULTILINE)
_COMMENT = re.compile(r"^COMMENT ON (?:TABLE|VIEW) (\w+) IS\s+'((?:[^']|'')*)';", re.MULTILINE)
_KEY = re.compile(r"PRIMARY KEY \(([^)]*)\)|^\s*(\w+) [^\n]*\bPRIMARY KEY\b", re.MULTILINE)
_VIEW_KEY = re.compile(r"\s*Key: ([\w, ]+)\.$")
# In a remark or a function nothing of the schema is defined.
_ASIDE = re.compile(r"--[^\n]*|\$\$.*?\$\$", re.DOTALL)


@dataclass(frozen=True)
class Relation:
    """One table or view.

    Attributes:
        name: of the relation.
        kind: `table` or `view`.
        grain: what one row is; empty where no comment says it.
        key: columns that name a row.
    """

    name: str
    kind: str
    grain: str
    key: tuple[str, ...]


def read_relations(migrations: Path) -> list[Relation]:
    """Every table, then every view, in the order of the migrations."""
    files = sorted(migrations.glob("*.sql"))
    text = "\n".join(_ASIDE.sub("", f.read_text(encoding="utf-8")) for f in files)
    said = {name: words.replace("''", "'") for name, words in _COMMENT.findall(text)}
    tables = [Relation(n, "table", said.get(n, ""), _key(body)) for n, body in _TABLE.findall(text)]
    return tables + [_view(name, said.get(name, "")) for name in _VIEW.findall(text)]


def _key(body: str) -> tuple[str, ...]:
    found = _KEY.search(body)
    return _names(found[1] or found[2]) if found else ()


def _view(name: str, comment: str) -> Relation:
    found = _VIEW_KEY.search(comment)
    return Relation(name, "view", _VIEW_KEY.sub("", comment), _names(found[1]) if found else ())


def _names(listed: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in listed.split(","))
