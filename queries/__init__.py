"""Queries of the lake: one interface over Spark, Trino and DuckDB.

Belongs here: engines, messages about failed queries, and the predefined questions of a shop.
Does not: anything that writes, nor the tables and views themselves (`streaming`).
"""

from queries.engine import Answer, Engine, QueryError
from queries.engines import ENGINES, open_engine

__all__ = ["ENGINES", "Answer", "Engine", "QueryError", "open_engine"]
