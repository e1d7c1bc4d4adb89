"""A query as of a moment: each of its tables at one snapshot, the same on every engine.

A view reads what validation had let through by then, which is known at the end of hours and days.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from sqlglot import exp

from conf.settings import Settings
from queries.engine import QueryError
from queries.lake import Shelf, open_shelf
from queries.references import parse_reading, references, snapshot_of
from streaming.lake.dialects import in_dialect
from streaming.lake.iceberg.history import VALIDATED, day_tag

Moment = str | datetime
"""A tag or branch, or an instant with a time zone."""
MODIFIERS = ("joins", "laterals", "pivots", "sample")
"""Of a table in a parsed query, beside its alias."""


def parse_moment(text: str, now: datetime) -> Moment:
    """What `--at` means: `yesterday` and a date are the tag of that day, in UTC.

    Args:
        text: one of these, a tag or branch, or an instant in ISO 8601, by default in UTC.
        now: with a time zone.
    """
    if text == "yesterday":
        return day_tag(now - timedelta(days=1))
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        return f"day-{text}"
    try:
        instant = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return text
    return instant if instant.tzinfo else instant.replace(tzinfo=timezone.utc)


def as_of(settings: Settings, engine: str, sql: str, at: str) -> str:
    """A query with each table at its snapshot of a moment; one that names a version keeps it.

    Args:
        settings: of the deployment.
        engine: its name; `sql` and the result are in its SQL.
        sql: one query that only reads.
        at: see `parse_moment`.

    Raises:
        QueryError: a table has no snapshot of that moment, or none any more; or it is no query.
    """
    query = parse_reading(sql, engine)
    if not isinstance(query, exp.Query):
        raise QueryError("Only a SELECT can be asked as of a moment.")
    moment = parse_moment(at, datetime.now(timezone.utc))
    with open_shelf(settings) as shelf:
        pin(query, shelf, moment)
    return in_dialect(query, engine)


def pin(query: exp.Expr, shelf: Shelf, moment: Moment, *, in_view: bool = False) -> None:
    """Name the snapshot of each table in a parsed query, and put the text of a view in its place.

    Raises:
        QueryError: a table has no such snapshot, or a version of a view is wanted.
    """
    for reference in references(query):
        node, view = reference.node, shelf.view(reference)
        if reference.version is not None and not in_view:
            continue
        if view is not None:
            then = moment if in_view else _validated(reference.table, moment)
            pin(view, shelf, then, in_view=True)
            alias = exp.TableAlias(
                this=exp.to_identifier(node.alias or node.name, quoted=True),
                columns=node.args["alias"].columns if node.alias else None,
            )
            kept = {name: node.args.get(name) for name in MODIFIERS}
            node.replace(exp.Subquery(this=view, alias=alias, **kept))
        else:
            found = snapshot_of(shelf.table(reference.table), reference.table, moment)
            version = exp.Literal.number(found)
            node.set("version", exp.Version(this="VERSION", kind="AS OF", expression=version))


def _validated(view: str, moment: Moment) -> str:
    if isinstance(moment, datetime):
        raise QueryError(
            f"{view} shows validated rows, known at the end of hours and days: name a tag such as "
            "hour-2024-05-01T13 or day-2024-05-01; `storelake history` lists them."
        )
    return moment if moment == VALIDATED else f"{VALIDATED}-{moment}"
