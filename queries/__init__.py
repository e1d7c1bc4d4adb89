"""Questions to the lake: one interface over Spark, Trino and DuckDB.

Belongs here: engines, what can be said of a query that failed, and the questions that a shop asks.
Does not: anything that writes, nor the tables and views themselves (`streaming`).
"""

from queries.engine import Answer, Engine, QueryError
from queries.engines import ENGINES, open_engine

__all__ = ["ENGINES", "Answer", "Engine", "QueryError", "open_engine"]
