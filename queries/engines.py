"""Which engines there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from conf.settings import Settings
from queries.duckdb_engine import DuckDbEngine
from queries.engine import Engine
from queries.spark_engine import SparkEngine
from queries.trino_engine import TrinoEngine
from streaming.lake.formats import require_iceberg

ENGINES: Mapping[str, Callable[[Settings], Engine]] = {
    "duckdb": DuckDbEngine,
    "spark": SparkEngine,
    "trino": TrinoEngine,
}


def open_engine(settings: Settings, name: str) -> Engine:
    """An engine by its name; close it.

    Raises:
        LakeError: the lake is in Delta, which has no catalog that the engines share.
    """
    require_iceberg(settings, "A query over the tables' names")
    return ENGINES[name](settings)
