"""Spark SQL, in a session of this process: the engine of the streams, for what is large."""

from __future__ import annotations

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from conf.settings import Settings
from queries.engine import Answer
from queries.failures import explain
from queries.references import parse_reading
from streaming.session import build_session


class SparkEngine:
    """A session of its own, which takes some seconds to start."""

    name = "spark"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._spark = build_session(settings, "storelake:sql")
        self._spark.catalog.setCurrentCatalog(settings.catalog.name)

    def ask(self, sql: str) -> Answer:
        """See `Engine`."""
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
