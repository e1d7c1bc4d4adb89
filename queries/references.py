"""What a query refers to: tables of the lake, and the moment at which it wants each of them.

`namespace.table FOR VERSION AS OF 123`, or a tag or branch in quotes, or `FOR TIMESTAMP AS OF
TIMESTAMP '2024-05-01 10:00:00 UTC'`. Spark and Trino understand these by themselves; for DuckDB
they are understood here.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import groupby

import sqlglot
from pyiceberg.table import Table as IcebergTable
from sqlglot import exp
from sqlglot.errors import SqlglotError

from queries.engine import QueryError
from streaming.lake.iceberg.history import HISTORY_TAG, complete_since, snapshot_before

Version = int | str | datetime
READING = (exp.Query, exp.Describe, exp.Pivot, exp.Show, exp.Summarize, exp.Values)
# What begins so reads, even where sqlglot cannot parse it; WITH and FROM may begin an INSERT.
READING_WORDS = frozenset({"SELECT", "VALUES", "TABLE", "SHOW", "DESC", "DESCRIBE", "EXPLAIN"})
CLAUSES = frozenset({"WITH", "FROM", "("})
COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
METADATA = frozenset({"information_schema", "pg_catalog"})
"""Namespaces that the engine itself has."""
logging.getLogger("sqlglot").setLevel(logging.ERROR)  # it warns of each SHOW and EXPLAIN


@dataclass(frozen=True)
class Reference:
    """A table, or a view, in a query.

    Attributes:
        table: `namespace.name`.
        version: a snapshot, a tag or branch, or an instant; None for the newest snapshot.
        node: where it stands in the parsed query.
    """

    table: str
    version: Version | None
    node: exp.Table


def parse_reading(sql: str, dialect: str) -> exp.Expr | None:
    """The parsed query; None where only the engine itself may know what it means.

    Raises:
        QueryError: it is empty, or several statements, or it would change something.
    """
    words = COMMENT.sub(" ", sql).strip("; \t\r\n").replace("(", "( ").split()
    if not words:
        raise QueryError("There is no query: give SQL, or a file with --file.")
    verb = words[0].upper()
    try:
        parsed = sqlglot.parse(sql, read=dialect)
        statements = [s for s in parsed if s is not None and not isinstance(s, exp.Semicolon)]
    except SqlglotError as error:
        if verb in CLAUSES:
            raise QueryError(f"The query cannot be parsed: {str(error).splitlines()[0]}") from error
        statements = []
    if len(statements) > 1:
        raise QueryError(f"These are {len(statements)} statements: ask one at a time.")
    if statements and isinstance(statements[0], READING):
        return statements[0]
    if verb not in READING_WORDS:
        raise QueryError(
            f"{verb} is no query: only the streams and the commands of storelake write to the "
            "lake, and this reads it."
        )
    return None


def references(query: exp.Expr) -> list[Reference]:
    """Every table that a query names with its namespace; others are its own."""
    return [
        Reference(f"{node.db}.{node.name}", _version(node), node)
        for node in query.find_all(exp.Table)
        if node.db and node.db.lower() not in METADATA
    ]


def bare_names(query: exp.Expr) -> list[str]:
    """Tables that a query names without a namespace, and does not define itself; no files."""
    own = {cte.alias.lower() for cte in query.find_all(exp.CTE)}
    names = [table.name for table in query.find_all(exp.Table) if not table.db]
    return [name for name in names if name.isidentifier() and name.lower() not in own]


def _version(node: exp.Table) -> Version | None:
    clause = node.args.get("version") or node.args.get("when")
    if clause is None:
        return None
    given = clause.expression
    literal = given.this if isinstance(given, exp.Cast) else given
    if not isinstance(literal, exp.Literal):
        raise QueryError(f"{node.db}.{node.name}: give the version as a number or a text.")
    kind = str(clause.this if isinstance(clause, exp.Version) else clause.args.get("kind")).upper()
    if kind.startswith("TIMESTAMP"):
        return _instant(literal.this)
    return str(literal.this) if literal.is_string else int(literal.this)


def _instant(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text.strip().replace(" UTC", "Z").replace("Z", "+00:00"))
    except ValueError:
        raise QueryError(
            f"{text!r} is no time like '2024-05-01 10:00:00 UTC': give it in that form."
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def snapshot_of(iceberg: IcebergTable, name: str, version: Version | None) -> int | None:
    """The id of the snapshot that a query wants; None for an empty table.

    Raises:
        QueryError: there is no such snapshot, or not any more.
    """
    if version is None:
        newest = iceberg.current_snapshot()
        return newest.snapshot_id if newest else None
    found = None
    if isinstance(version, datetime):
        at = snapshot_before(iceberg.metadata, version + timedelta(milliseconds=1))
        found = None if at is None else iceberg.snapshot_by_id(at)
    elif isinstance(version, int):
        found = iceberg.snapshot_by_id(version)
    elif (ref := iceberg.metadata.refs.get(version)) is not None:
        found = iceberg.snapshot_by_id(ref.snapshot_id)
    if found is None:
        raise QueryError(_no_snapshot(iceberg, name, version))
    return found.snapshot_id


def _no_snapshot(iceberg: IcebergTable, name: str, version: Version) -> str:
    if version == "validated":
        return (
            f"Nothing of {name} has been validated yet, and only validated rows are read: run "
            "`storelake quality run`."
        )
    if isinstance(version, str):
        return f"{name} has no tag or branch {version!r}; there are: {_tags(iceberg)}."
    since = complete_since(iceberg.metadata)
    if since is None:
        return f"{name} is empty: it has no snapshot at all."
    what = f"at {version:%Y-%m-%d %H:%M:%S} UTC" if isinstance(version, datetime) else str(version)
    return (
        f"{name} has no snapshot {what}: it may have expired; all are kept since "
        f"{since:%Y-%m-%d %H:%M:%S} UTC, and these tags and branches: {_tags(iceberg)}."
    )


@dataclass(frozen=True)
class Tag:
    """A tag or branch of a table.

    Attributes:
        name: of the tag.
        committed_at: of its snapshot, UTC.
        rows: number of rows of the table then.
    """

    name: str
    committed_at: datetime
    rows: int


def tags(iceberg: IcebergTable) -> list[Tag]:
    """Its tags and branches, by name."""
    found = []
    for name, ref in sorted(iceberg.metadata.refs.items()):
        snapshot = iceberg.snapshot_by_id(ref.snapshot_id)
        assert snapshot is not None  # noqa: S101 - a tag keeps it
        at = datetime.fromtimestamp(snapshot.timestamp_ms / 1000, timezone.utc)
        summary = snapshot.summary.additional_properties if snapshot.summary else {}
        found.append(Tag(name, at, int(summary.get("total-records", 0))))
    return found


def _tags(iceberg: IcebergTable) -> str:
    """All tags and branches; of hours and days the oldest and the newest."""
    names = sorted(iceberg.metadata.refs)
    known = [name for name in names if not HISTORY_TAG.fullmatch(name)]
    kinds = groupby((name for name in names if name not in known), lambda n: n.partition("-2")[0])
    for _, (first, *others) in kinds:
        known.append(f"{first} to {others[-1]}" if others else first)
    return ", ".join(known) or "none"
