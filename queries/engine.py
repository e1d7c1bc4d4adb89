"""What every engine can do: take SQL in its own dialect, give rows of plain Python values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Protocol

from conf.errors import StorelakeError


class QueryError(StorelakeError):
    """A query that cannot be answered; the message is one sentence that states why."""


@dataclass(frozen=True)
class Answer:
    """Rows of one query.

    Attributes:
        columns: their names, in order.
        rows: plain values, the same from every engine: money is Decimal, an instant is a datetime
            in UTC, a clock on a wall one without a zone, a struct is a dict, an array a list.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def equals(self, other: Answer) -> bool:
        """Whether another engine's answer is the same, row by row; see `alike`."""
        return (
            self.columns == other.columns
            and len(self.rows) == len(other.rows)
            and all(
                all(map(alike, mine, theirs))
                for mine, theirs in zip(self.rows, other.rows, strict=True)
            )
        )


@dataclass(frozen=True)
class RowStream:
    """Rows of one query, as the engine delivers them.

    Attributes:
        columns: their names, in order.
        types: of each column, in the SQL of the engine.
        rows: see `Answer`; reading them raises QueryError where the engine fails midway.
    """

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: Iterator[tuple[Any, ...]]

    @classmethod
    def of(
        cls, columns: Iterable[str], types: Iterable[str], rows: Iterable[Sequence[Any]]
    ) -> RowStream:
        """From the rows that a client returns."""
        return cls(tuple(columns), tuple(types), (tuple(map(plain, row)) for row in rows))


class Engine(Protocol):
    """Where a query runs. Close it.

    All three read the same tables by the same names, such as `silver.orders` or `analyst.orders`.
    """

    @property
    def name(self) -> str:
        """spark, trino or duckdb; also sqlglot's name of its SQL."""
        ...

    def stream(self, sql: str) -> AbstractContextManager[RowStream]:
        """Run one query that only reads; rows can be read in the block, once.

        Raises:
            QueryError: it cannot be answered, or the engine does not run.
        """
        ...

    def ask(self, sql: str) -> Answer:
        """All rows of a query that only reads.

        Raises:
            QueryError: see `stream`.
        """
        with self.stream(sql) as stream:
            return Answer(stream.columns, tuple(stream.rows))

    def close(self) -> None:
        """Let go what it holds."""
        ...


def alike(one: Any, other: Any) -> bool:
    """Equal, of one type; a float but for what the order of a sum may change."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
    return type(one) is type(other) and bool(one == other)


def plain(value: Any) -> Any:
    """A value without the types of a client's library."""
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc) if value.tzinfo else value
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return value
