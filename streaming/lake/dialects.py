"""SQL of one text in the dialects of several engines."""

from __future__ import annotations

import sqlglot
from sqlglot import exp

DIALECT = "trino"
"""Of every view, and of every question of `queries`."""


def in_dialect(query: exp.Expr, dialect: str) -> str:
    """The text of a parsed query for an engine.

    Raises:
        sqlglot.errors.UnsupportedError: the engine has no such thing.
    """

    def keep_clocks(node: exp.Expr) -> exp.Expr:
        """In Spark, a TIMESTAMP is an instant, and local time is a TIMESTAMP_NTZ."""
        if isinstance(node, exp.Cast) and isinstance(node.this, exp.AtTimeZone):
            node.set("to", exp.DataType.build("TIMESTAMPNTZ"))
        return node

    tree = query.transform(keep_clocks) if dialect == "spark" else query
    return tree.sql(dialect, unsupported_level=sqlglot.ErrorLevel.RAISE)
