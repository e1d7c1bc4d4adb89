"""Parses the columns of a DDL list without Spark, for commands that have no JVM."""

from __future__ import annotations

from typing import NamedTuple


class Column(NamedTuple):
    """One column of a table."""

    name: str
    type: str
    comment: str


def parse_columns(ddl: str) -> list[Column]:
    """The columns of a DDL list such as `a int COMMENT 'x', b map<string, int>`."""
    columns = []
    for part in split_top_level(ddl):
        declaration, _, comment = part.partition(" COMMENT ")
        name, _, type_ = declaration.partition(" ")
        columns.append(Column(name, type_, comment.strip()[1:-1].replace("''", "'")))
    return columns


def split_top_level(ddl: str, opening: str = "(<", closing: str = ")>") -> list[str]:
    """Split at the commas outside of quotes and brackets; white space becomes one space."""
    parts, depth, quoted = [""], 0, False
    for character in " ".join(ddl.split()):
        if character == "'":
            quoted = not quoted
        elif not quoted:
            depth += (character in opening) - (character in closing)
        if character == "," and not quoted and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]
