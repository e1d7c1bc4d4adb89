"""The lake: guarded appends and keyed upserts into Iceberg tables.

Delivery guarantee: exactly-once in effect. The snapshot of an append carries the query and batch id
that made it; before the first append of a run, and before every retry, the table's history is asked
whether that batch is there. An upsert writes absolute values by key, so it may run twice.

Rows come as Arrow and PyIceberg writes them: for the batches of a stream, a few rows to a few ten
thousand, that costs a quarter of a Spark write (docs/adr/0004). One writer a table.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.expressions import And, BooleanExpression, GreaterThanOrEqual, LessThanOrEqual
from pyiceberg.table import Table as IcebergTable
from pyspark.sql import SparkSession
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from conf.settings import Settings
from streaming.tables import TABLES, Table

log = logging.getLogger(__name__)

QUERY_PROPERTY = "storelake.query-id"
BATCH_PROPERTY = "storelake.batch-id"
EXPIRE_EVERY = 100
"""Commits between two expiries of old snapshots, which keep a table's metadata small."""

_retry_conflicts = retry(
    retry=retry_if_exception_type(CommitFailedException),
    wait=wait_random_exponential(multiplier=0.05, max=2),
    stop=stop_after_attempt(10),
    reraise=True,
)


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

    settings: Settings
    _committed: dict[tuple[str, str], int] = field(default_factory=dict)
    _commits: int = 0

    @cached_property
    def catalog(self) -> SqlCatalog:
        """PyIceberg's view of the catalog."""
        return open_catalog(self.settings)

    def load(self, table: Table) -> IcebergTable:
        """The table as it is now."""
        return self.catalog.load_table(table.name)

    def has_batch(self, table: Table, query_id: str, batch_id: int) -> bool:
        """Whether the table already holds this batch of this query."""
        seen = self._committed.get((table.name, query_id))
        if seen is None:
            seen = self._last_batch(table, query_id)
            self._committed[table.name, query_id] = seen
        return batch_id <= seen

    def append(self, table: Table, rows: pa.Table, query_id: str, batch_id: int) -> bool:
        """Append the rows of one micro-batch, once; columns that the table lacks are left out.

        Returns:
            False when the table already has this batch, or there is no row: nothing is written.
        """
        if not rows.num_rows or self.has_batch(table, query_id, batch_id):
            return False
        # Until the commit is known to have worked, the next attempt must ask the table again.
        del self._committed[table.name, query_id]
        self._append(table, rows, {QUERY_PROPERTY: query_id, BATCH_PROPERTY: str(batch_id)})
        self._committed[table.name, query_id] = batch_id
        self._expire(table)
        return True

    @_retry_conflicts
    def _append(self, table: Table, rows: pa.Table, properties: dict[str, str]) -> None:
        iceberg = self.load(table)
        iceberg.append(_shape(rows, iceberg), snapshot_properties=properties)

    def _last_batch(self, table: Table, query_id: str) -> int:
        """The newest batch of the query in the table's history, or -1."""
        snapshots = self.load(table).metadata.snapshots
        summaries = [s.summary.additional_properties for s in snapshots if s.summary]
        batches = (int(s[BATCH_PROPERTY]) for s in summaries if s.get(QUERY_PROPERTY) == query_id)
        return max(batches, default=-1)

    @_retry_conflicts
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
        rows = _shape(rows, iceberg)
        span = _span(rows, time_key)
        old = iceberg.scan(row_filter=span).to_arrow()
        kept = old.join(rows.select(table.key), list(table.key), join_type="left anti")
        iceberg.overwrite(pa.concat_tables([_shape(kept, iceberg), rows]), overwrite_filter=span)
        self._expire(table)

    def _expire(self, table: Table) -> None:
        """Now and then forget old snapshots; the newest, which guards the last batch, stays."""
        self._commits += 1
        if self._commits % EXPIRE_EVERY:
            return
        before = datetime.now(timezone.utc) - self.settings.catalog.snapshot_retention
        try:
            self.load(table).maintenance.expire_snapshots().older_than(before).commit()
        except CommitFailedException as conflict:
            log.info("snapshots of %s not expired this time: %s", table.name, conflict)


def create_tables(spark: SparkSession, settings: Settings) -> None:
    """Make the namespaces and tables that are missing, and the catalog's own tables at first use."""
    name = settings.catalog.name
    spark.sql(f"SHOW NAMESPACES IN {name}").collect()
    catalog = open_catalog(settings)
    spaces = catalog.list_namespaces()
    have = {".".join(t) for space in spaces for t in catalog.list_tables(space)}
    missing = [t for t in TABLES if t.name not in have]
    for namespace in sorted({t.name.split(".")[0] for t in missing}):
        spark.sql(f"CREATE NAMESPACE IF NOT EXISTS {name}.{namespace}")
    for table in missing:
        spark.sql(table.create_sql(name))


def _shape(rows: pa.Table, iceberg: IcebergTable) -> pa.Table:
    schema = iceberg.schema().as_arrow()
    return rows.select(schema.names).cast(schema)


def _span(rows: pa.Table, time_key: str) -> BooleanExpression:
    bounds = pc.min_max(rows[time_key]).as_py()
    low, high = (t.isoformat() for t in (bounds["min"], bounds["max"]))
    return And(GreaterThanOrEqual(time_key, low), LessThanOrEqual(time_key, high))
