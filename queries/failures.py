"""Why a query failed, in one sentence, and in the same words whatever the engine."""

from __future__ import annotations

import re
from itertools import takewhile

from sqlglot import exp

from conf.errors import StorelakeError
from conf.settings import Settings
from queries.engine import QueryError
from queries.lake import open_shelf
from queries.references import bare_names, references

NOISE = re.compile(
    r"\s*SQLSTATE: \w+.*$|^(?:An error occurred while calling \S+ : )?(?:java|org)\.[\w.$]+: ",
    re.DOTALL,
)
NO_NAMESPACE = "Schema must be specified"  # Trino, which does not repeat the name
TRACE = re.compile(r"\s*at [\w.$]+\(|LINE \d+:")


def explain(settings: Settings, engine: str, query: exp.Expr | None, reported: str) -> QueryError:
    """The reason as we know it, else in the words of the engine.

    Args:
        settings: of the deployment.
        engine: its name, for people.
        query: parsed, if that was possible.
        reported: by the engine.
    """
    names = bare_names(query) if query else []
    bare = [name for name in names if name in reported or NO_NAMESPACE in reported]
    if query is None or not (references(query) or bare):
        return _refused(engine, reported)
    try:
        with open_shelf(settings) as shelf:
            shelf.check(query)
            return shelf.missing(bare[0]) if bare else _refused(engine, reported)
    except StorelakeError as reason:
        return QueryError(str(reason))


def _refused(engine: str, reported: str) -> QueryError:
    """The first paragraph, which has the suggestions, without stack trace and plan."""
    paragraph = reported.strip().partition("\n\n")[0]
    lines = takewhile(lambda line: not TRACE.match(line), paragraph.splitlines())
    sentence = NOISE.sub("", " ".join(line.strip() for line in lines))
    return QueryError(f"{engine} refuses the query: {sentence}")
