"""Spark SQL, in a session of this process: the engine of the streams, for what is large."""

from __future__ import annotations

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from typing_extensions import override

from conf.settings import Settings
from queries.engine import Answer, Engine
from queries.failures import explain
from queries.references import parse_reading
from streaming.runtime.session import build_session

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
    def ask(self, sql: str) -> Answer:
        query = parse_reading(sql, self.name)
        try:
            rows = self._spark.sql(sql.strip().rstrip(";")).toArrow()
        except (PySparkException, Py4JError) as error:
            raise explain(self._settings, "Spark", query, str(error)) from error
        columns = [column.to_pylist() for column in rows.columns]
        return Answer.of(rows.column_names, zip(*columns, strict=True))

    def close(self) -> None:
        """Stop the session."""
        self._spark.stop()
