"""Trino, a server beside the streams: many readers, and tools that speak JDBC."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import trino
from trino.exceptions import TrinoConnectionError, TrinoQueryError
from trino.types import NamedRowTuple
from typing_extensions import override

from conf.settings import Settings
from queries.engine import Answer, Engine, QueryError
from queries.failures import explain
from queries.references import parse_reading


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
    def ask(self, sql: str) -> Answer:
        query = parse_reading(sql, self.name)
        cursor = self._connection.cursor()
        try:
            cursor.execute(sql.strip().rstrip(";"))
            rows = cursor.fetchall()
        except TrinoConnectionError as error:
            raise QueryError(
                f"Trino does not answer at {self._settings.trino.address}: start it with "
                "`storelake up --trino`, or in the profile `full`, or ask another engine."
            ) from error
        except TrinoQueryError as error:
            raise explain(self._settings, "Trino", query, error.message or str(error)) from error
        columns = [column[0] for column in cursor.description or ()]
        stats = cursor.stats or {}
        plain = [[_structs(value) for value in row] for row in rows]
        return Answer.of(columns, plain, stats.get("physicalInputBytes"))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _structs(value: Any) -> Any:
    """Rows inside a row as dicts."""
    if isinstance(value, NamedRowTuple):
        names = value.__annotations__["names"]
        return {n: _structs(inner) for n, inner in zip(names, value, strict=True)}
    if isinstance(value, list):
        return [_structs(inner) for inner in value]
    return value
