"""The engines by name."""

# ruff: noqa: PLC0415 - each engine has large libraries of its own
from __future__ import annotations

from conf.settings import Settings
from queries.engine import Engine

ENGINES = ("duckdb", "spark", "trino")


def open_engine(settings: Settings, name: str) -> Engine:
    """An engine by its name; close it.

    Raises:
        LakeError: the lake is in Delta, which has no catalog that the engines share.
        ValueError: there is no such engine.
    """
    from streaming.lake.formats import require_iceberg

    require_iceberg(settings, "A query over the tables' names")
    match name:
        case "duckdb":
            from queries.duckdb_engine import DuckDbEngine

            return DuckDbEngine(settings)
        case "spark":
            from queries.spark_engine import SparkEngine

            return SparkEngine(settings)
        case "trino":
            from queries.trino_engine import TrinoEngine

            return TrinoEngine(settings)
    raise ValueError(f"unknown engine {name}")
