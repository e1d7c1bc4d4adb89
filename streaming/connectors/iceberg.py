"""The lake: guarded appends and keyed upserts into Iceberg tables.

Delivery guarantee: exactly-once in effect. The snapshot of an append carries the query and batch id
that made it; before the first append of a run, and before every retry, the table's history is asked
whether that batch is there. An upsert writes absolute values by key, so it may run twice.

Appends are Spark jobs, since a batch may be large. Upserts go to the small gold tables only, with
rows that are in the driver already, and are made by PyIceberg there: a MERGE plans four Spark jobs
for what is a file of a few rows (docs/adr/0004).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.expressions import And, BooleanExpression, GreaterThanOrEqual, LessThanOrEqual
from pyiceberg.table import Table as IcebergTable
from pyspark.sql import DataFrame, SparkSession
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from conf.settings import Settings
from streaming.tables import TABLES, Table

log = logging.getLogger(__name__)

QUERY_PROPERTY = "storelake.query-id"
BATCH_PROPERTY = "storelake.batch-id"


def open_catalog(settings: Settings) -> SqlCatalog:
    """The catalog without Spark: for small upserts on the driver, and for readers.

    Raises:
        SettingsError: the database password is missing.
    """
    return SqlCatalog(
        settings.catalog.name,
        uri=settings.postgres.sqlalchemy_url,
        warehouse=settings.warehouse,
        init_catalog_tables="false",
        pool_pre_ping="true",
    )


@dataclass
class Lake:
    """Reads and writes of one query; not shared between queries: it remembers what it committed."""

    spark: SparkSession
    settings: Settings
    _committed: dict[tuple[str, str], int] = field(default_factory=dict)
    _names: dict[str, list[str]] = field(default_factory=dict)

    @cached_property
    def catalog(self) -> SqlCatalog:
        """PyIceberg's view of the catalog."""
        return open_catalog(self.settings)

    def path(self, table: Table) -> str:
        """The table's full name in Spark SQL."""
        return f"{self.settings.catalog.name}.{table.name}"

    def read(self, table: Table) -> DataFrame:
        """The table's current snapshot."""
        return self.spark.table(self.path(table))

    def has_batch(self, table: Table, query_id: str, batch_id: int) -> bool:
        """Whether the table already holds this batch of this query."""
        seen = self._committed.get((table.name, query_id))
        if seen is None:
            seen = self._last_batch(table, query_id)
            self._committed[table.name, query_id] = seen
        return batch_id <= seen

    def append(self, table: Table, rows: DataFrame, query_id: str, batch_id: int) -> bool:
        """Append the rows of one micro-batch, once; columns that the table lacks are left out.

        Returns:
            False when the table already has this batch: then nothing is written.
        """
        if self.has_batch(table, query_id, batch_id):
            log.info("%s already has batch %d of %s", table.name, batch_id, query_id)
            return False
        # Until the commit is known to have worked, the next attempt must ask the table again.
        del self._committed[table.name, query_id]
        (
            rows.select(*self._columns(table))
            .writeTo(self.path(table))
            .option(f"snapshot-property.{QUERY_PROPERTY}", query_id)
            .option(f"snapshot-property.{BATCH_PROPERTY}", str(batch_id))
            .append()
        )
        self._committed[table.name, query_id] = batch_id
        return True

    def _last_batch(self, table: Table, query_id: str) -> int:
        """The newest batch of the query in the table's history, or -1."""
        snapshots = self.load(table).metadata.snapshots
        summaries = [s.summary.additional_properties for s in snapshots if s.summary]
        batches = (int(s[BATCH_PROPERTY]) for s in summaries if s.get(QUERY_PROPERTY) == query_id)
        return max(batches, default=-1)

    def _columns(self, table: Table) -> list[str]:
        if table.name not in self._names:
            self._names[table.name] = [f.name for f in self.load(table).schema().fields]
        return self._names[table.name]

    def load(self, table: Table) -> IcebergTable:
        """The table as PyIceberg sees it now."""
        return self.catalog.load_table(table.name)

    @retry(
        retry=retry_if_exception_type(CommitFailedException),
        wait=wait_random_exponential(multiplier=0.05, max=2),
        stop=stop_after_attempt(10),
        reraise=True,
    )
    def upsert(self, table: Table, rows: pa.Table, time_key: str) -> None:
        """Replace the rows with the same keys, in one commit.

        Args:
            table: a small table with the strategy `upsert`.
            rows: absolute values, every column of the table, unique by the table's key.
            time_key: the key column that the table is partitioned by; it bounds what is rewritten.
        """
        if not rows.num_rows:
            return
        iceberg = self.load(table)
        schema = iceberg.schema().as_arrow()
        rows = rows.select(schema.names).cast(schema)
        old = iceberg.scan(row_filter=_span(rows, time_key)).to_arrow()
        kept = old.join(rows.select(table.key), list(table.key), join_type="left anti")
        fresh = pa.concat_tables([kept.select(rows.column_names).cast(rows.schema), rows])
        iceberg.overwrite(fresh, overwrite_filter=_span(rows, time_key))

    def create_tables(self) -> None:
        """Make the namespaces and tables that are missing, and the catalog's own at first use."""
        self.spark.sql(f"SHOW NAMESPACES IN {self.settings.catalog.name}").collect()
        have = {
            ".".join(name) for space in self.catalog.list_namespaces()
            for name in self.catalog.list_tables(space)
        }
        missing = [t for t in TABLES if t.name not in have]
        for namespace in sorted({t.name.split(".")[0] for t in missing}):
            self.spark.sql(f"CREATE NAMESPACE IF NOT EXISTS {self.settings.catalog.name}.{namespace}")
        for table in missing:
            self.spark.sql(table.create_sql(self.settings.catalog.name))


def _span(rows: pa.Table, time_key: str) -> BooleanExpression:
    bounds = pc.min_max(rows[time_key]).as_py()
    low, high = (t.isoformat() for t in (bounds["min"], bounds["max"]))
    return And(GreaterThanOrEqual(time_key, low), LessThanOrEqual(time_key, high))
