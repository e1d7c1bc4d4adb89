"""Why a query failed, in one sentence, and in the same words whatever the engine."""

from __future__ import annotations

import re

from sqlglot import exp

from conf.errors import StorelakeError
from conf.settings import Settings
from queries.engine import QueryError
from queries.lake import open_shelf

NOISE = re.compile(r"\s*SQLSTATE: \w+.*$|^(?:java|org)\.[\w.$]+: ", re.DOTALL)


def explain(settings: Settings, engine: str, query: exp.Expr | None, reported: str) -> QueryError:
    """The reason as we know it, else in the words of the engine.

    Args:
        settings: of the deployment.
        engine: its name, for people.
        query: parsed, if that was possible.
        reported: by the engine.
    """
    try:
        with open_shelf(settings) as shelf:
            if query is not None:
                shelf.check(query)
    except StorelakeError as reason:
        return QueryError(str(reason))
    lines = [line.strip() for line in reported.strip().splitlines() if line.strip()]
    return QueryError(f"{engine} refuses the query: {NOISE.sub('', ' '.join(lines[:1]))}")
