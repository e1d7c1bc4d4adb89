"""Trino, a server beside the streams: many readers, and tools that speak JDBC."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import chain
from typing import Any
from urllib.parse import urlsplit

import sqlglot
import trino
from sqlglot import exp
from sqlglot.errors import TokenError
from trino.exceptions import TrinoConnectionError, TrinoQueryError
from trino.types import NamedRowTuple
from typing_extensions import override

from conf.settings import Settings
from queries.engine import Engine, QueryError, RowStream
from queries.failures import explain
from queries.references import parse_reading
from queries.show_tables import show_tables


class TrinoEngine(Engine):
    """A connection to the server of the settings; it may only read."""

    name = "trino"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        address = urlsplit(settings.trino.address)
        self._connection = trino.dbapi.connect(  # type: ignore[no-untyped-call]
            host=address.hostname,
            port=address.port,
            http_scheme=address.scheme,
            user=settings.trino.user,
            catalog=settings.catalog.name,
            source="storelake",
            timezone="UTC",
        )

    @override
    @contextmanager
    def stream(self, sql: str) -> Iterator[RowStream]:
        query = parse_reading(sql, self.name)
        with self._explained(query):
            if (shown := show_tables(self._settings, sql)) is not None:
                yield shown
                return
            with closing(self._connection.cursor()) as cursor:
                cursor.execute(_without_semicolons(sql))
                first = cursor.fetchmany(1)  # the description is there with it
                description = cursor.description or ()
                rows = ([_structs(value) for value in row] for row in chain(first, cursor))
                yield RowStream.of((c[0] for c in description), (c[1] for c in description), rows)

    @contextmanager
    def _explained(self, query: exp.Expr | None) -> Iterator[None]:
        try:
            yield
        except TrinoConnectionError as error:
            raise QueryError(
                f"Trino does not answer at {self._settings.trino.address}: start it with "
                "`storelake up --trino`, or in the profile `full`, or ask another engine."
            ) from error
        except TrinoQueryError as error:
            raise explain(self._settings, "Trino", query, error.message or str(error)) from error

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _without_semicolons(sql: str) -> str:
    """A statement without semicolons and comments behind it: Trino takes no semicolon."""
    try:
        tokens = sqlglot.tokenize(sql, read="trino")
    except TokenError:  # of which Trino itself gives the reason
        return sql
    last = max(t.end for t in tokens if t.token_type is not sqlglot.TokenType.SEMICOLON)
    return sql[: last + 1].rstrip()


def _structs(value: Any) -> Any:
    """Rows inside a row as dicts."""
    if isinstance(value, NamedRowTuple):
        names = value.__annotations__["names"]
        return {n: _structs(inner) for n, inner in zip(names, value, strict=True)}
    if isinstance(value, list):
        return [_structs(inner) for inner in value]
    return value
