"""Spark SQL, in a session of this process: the engine of the streams, for what is large."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from sqlglot import exp
from typing_extensions import override

from conf.settings import Settings
from queries.engine import Engine, QueryError, RowStream
from queries.failures import explain
from queries.references import parse_reading
from queries.show_tables import SHOW_COLUMNS, show_tables
from streaming.runtime.session import build_session

BATCH_ROWS = 10_000
TOO_LARGE = "spark.driver.maxResultSize"
LARGE = {"spark.sql.adaptive.enabled": "true", "spark.sql.shuffle.partitions": "64"}
"""Joins of millions of rows: plans that mend themselves, in tasks that fit into memory."""


def for_questions(settings: Settings) -> Settings:
    """A session is made for small batches; one that reads whole tables wants all that Spark has.

    Settings of the operator are kept, except the options of the JVM, which are for the streams.
    """
    spark = settings.spark
    update = {"driver_java_options": "-XX:+UseParallelGC", "extra": {**LARGE, **spark.extra}}
    return settings.model_copy(update={"spark": spark.model_copy(update=update)})


class SparkEngine(Engine):
    """A session of its own, which takes some seconds to start."""

    name = "spark"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._spark = build_session(for_questions(settings), "storelake:sql")
        self._spark.catalog.setCurrentCatalog(settings.catalog.name)

    @override
    @contextmanager
    def stream(self, sql: str) -> Iterator[RowStream]:
        """Spark collects rows as Arrow, at most `spark.driver.maxResultSize` of them."""
        query = parse_reading(sql, self.name)
        try:
            if (shown := show_tables(self._settings, sql)) is not None:
                yield shown
                return
            frame = self._spark.sql(SHOW_COLUMNS.sub("DESCRIBE ", sql).strip().rstrip(";"))
            rows = frame.toArrow()
        except (PySparkException, Py4JError) as error:
            raise self._explained(query, str(error)) from error
        types = [field.dataType.simpleString() for field in frame.schema]
        yield RowStream.of(rows.column_names, types, _tuples(rows))

    def _explained(self, query: exp.Expr | None, reported: str) -> QueryError:
        if TOO_LARGE in reported:
            return QueryError(
                "The answer is larger than `spark.driver.maxResultSize`: aggregate, choose fewer "
                "columns or rows, or ask duckdb, which delivers rows as it reads them."
            )
        if "information_schema" in reported:
            return QueryError(
                "Spark has no information_schema: ask SHOW TABLES or DESCRIBE, or another engine."
            )
        return explain(self._settings, "Spark", query, reported)

    def close(self) -> None:
        """Stop the session."""
        self._spark.stop()


def _tuples(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    for batch in table.to_batches(max_chunksize=BATCH_ROWS):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
