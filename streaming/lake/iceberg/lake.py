"""The lake in Iceberg: guarded appends and keyed upserts.

Delivery guarantee: exactly-once in effect. The snapshot of an append carries the newest source
positions that the table holds; every attempt to append loads the table, drops the rows up to there,
and commits only if nobody has committed since. An upsert writes absolute values by key, so it may
run twice. A commit that meets another one (maintenance, a backfill, a second application) begins
anew. A commit of a stream also carries the epoch of its lease as a property of the table; where the
loaded table has a higher one, the commit is refused (`FencedError`).

Rows come as Arrow and PyIceberg writes them: for the batches of a stream, a few rows to a few ten
thousand, that costs a quarter of a Spark write (docs/adr/0004). One writer a table.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from types import TracebackType
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
from pyiceberg.exceptions import (
    ForbiddenError,
    NoSuchTableError,
    OAuthError,
    RESTError,
    UnauthorizedError,
)
from pyiceberg.expressions import And, BooleanExpression, GreaterThanOrEqual, LessThanOrEqual
from pyiceberg.table import CommitTableResponse, Transaction
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.update import TableRequirement, TableUpdate
from pyiceberg.types import IcebergType, ListType, MapType, StructType
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from conf.errors import first_line
from conf.settings import Settings
from conf.storage import file_properties, rest_properties
from streaming.lake.iceberg.commits import (
    PROGRESS_PROPERTY,
    LakeTransaction,
    carried_progress,
    expire_old,
    retry_conflicts,
)
from streaming.lake.iceberg.files import read_files, write_files
from streaming.lake.iceberg.replace_files import Swap
from streaming.lake.iceberg.state import IcebergState
from streaming.lake.protocol import (
    EVERYTHING,
    LakeError,
    MissingTableError,
    Where,
    require_epoch,
    shape,
)
from streaming.lake.storage import StorageError, check_storage
from streaming.lake.tables import TABLES, Table
from streaming.progress import Progress, advance, fresh, from_text, to_text
from streaming.sources.silence import SilenceWatch

BATCH_PROPERTY = "storelake.batch-id"
EPOCH_PROPERTY = "storelake.epoch"
"""Of a table: the epoch of the lease under which a stream has last written it."""
EXPIRE_AT = 20
"""So many snapshots older than `catalog.snapshot_retention` go with the next commit: every commit
reads and writes the metadata of all of them."""

REWRITTEN_ROWS = 10_000
"""So many rows an upsert writes anew at most, beside those of the time that it is about: what is
older than that becomes a file of its own, which the next upserts leave alone."""

SPARK_NAMES = {"long": "bigint", "timestamptz": "timestamp", "timestamp": "timestamp_ntz"}

log = logging.getLogger("storelake.lake")


def watch_connections(engine: Engine, dsn: str) -> SilenceWatch:
    """Break connections of a catalog in Postgres on which no answer will come; close the result."""
    watch = SilenceWatch(dsn)
    event.listen(engine, "checkout", lambda connection, *_: watch.begin(connection))
    event.listen(engine, "checkin", lambda connection, *_: watch.end(connection))
    return watch


class KnowingCatalog(SqlCatalog):
    """Reads a file of metadata once: it never changes, and one that we have written is known.

    A commit loads the table twice, a reader that waits for news several times a second, and each
    time all snapshots would be parsed, which the catalog's one row tells to be the same.
    """

    def __init__(self, name: str, **properties: str) -> None:
        super().__init__(name, **properties)
        self._known: dict[str, IcebergTable] = {}  # by name, as it was when it was last seen
        self._watch: SilenceWatch | None = None

    def watch(self, dsn: str) -> None:
        """Break connections on which no answer will come, until `close`."""
        self._watch = watch_connections(self.engine, dsn)

    def close(self) -> None:
        """Give the connections back."""
        if self._watch is not None:
            self._watch.close()
        super().close()

    def _convert_orm_to_iceberg(self, orm_table: IcebergTables) -> IcebergTable:
        name = f"{orm_table.table_namespace}.{orm_table.table_name}"
        location = str(orm_table.metadata_location)
        known = self._known.get(name)
        if known is None or known.metadata_location != location:
            known = self._known[name] = super()._convert_orm_to_iceberg(orm_table)
        # Another one each time: it moves on with what its owner commits.
        return IcebergTable(known.name(), known.metadata, location, known.io, self)

    def commit_table(
        self,
        table: IcebergTable,
        requirements: tuple[TableRequirement, ...],
        updates: tuple[TableUpdate, ...],
    ) -> CommitTableResponse:
        """See `Catalog`."""
        made = super().commit_table(table, requirements, updates)
        name = ".".join(table.name())
        self._known[name] = IcebergTable(
            table.name(), made.metadata, made.metadata_location, table.io, self
        )
        return made


def open_catalog(settings: Settings) -> Catalog:
    """The catalog without Spark, for writers on the driver and for readers.

    It keeps connections: use it in a `with` block, or close it.

    Raises:
        SettingsError: the database password is missing, or a key of the S3.
        StorageError: the warehouse or the catalog does not answer, or refuses.
    """
    check_storage(settings)
    files = file_properties(settings)
    if settings.catalog.type == "rest":
        return _open_rest(settings, files)
    catalog = KnowingCatalog(
        settings.catalog.name,
        uri=settings.postgres.sqlalchemy_url,
        warehouse=settings.warehouse,
        init_catalog_tables="false",
        pool_pre_ping="true",
        **files,
    )
    try:
        catalog.watch(settings.postgres.dsn)
        catalog.engine.connect().close()  # back to the pool, for the first who asks
    except OperationalError as error:
        catalog.close()
        postgres, reason = settings.postgres, " ".join(str(error.orig).split())
        raise StorageError(
            f"The catalog in Postgres at {postgres.host}:{postgres.port} does not answer "
            f"({reason}): run `storelake up`, or check STORELAKE_POSTGRES__HOST, __PORT and "
            "__PASSWORD."
        ) from error
    return catalog


def _open_rest(settings: Settings, files: Mapping[str, str]) -> Catalog:
    uri = settings.catalog.uri
    try:
        return RestCatalog(settings.catalog.name, **rest_properties(settings), **files)
    except (UnauthorizedError, ForbiddenError, OAuthError) as error:
        raise StorageError(
            f"The REST catalog at {uri} refuses us ({first_line(error)[:200]}): set "
            "STORELAKE_CATALOG__TOKEN or STORELAKE_CATALOG__CREDENTIAL to what it wants."
        ) from error
    except (OSError, RESTError) as error:  # what `requests` raises is an OSError
        raise StorageError(
            f"The REST catalog at {uri} does not answer ({first_line(error)[:200]}): check that it "
            "runs, and STORELAKE_CATALOG__URI."
        ) from error


@dataclass
class IcebergLake:
    """See `Lake`."""

    settings: Settings
    catalog: Catalog
    """Shared by all lakes of a process: it holds connections."""
    epoch: int | None = None

    def __enter__(self) -> IcebergLake:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def another(self, epoch: int | None = None) -> IcebergLake:
        """See `Lake`."""
        return IcebergLake(self.settings, self.catalog, epoch)

    def close(self) -> None:
        """See `Lake`."""
        self.catalog.close()

    def load(self, table: Table) -> IcebergTable:
        """The table as it is now.

        Raises:
            LakeError: there is no such table.
        """
        return self._known(table.name).iceberg

    def state(self, table: str) -> IcebergState | None:
        """See `Lake`."""
        try:
            return IcebergState(self.catalog.load_table(table))
        except NoSuchTableError:
            return None

    def read(
        self, table: str, columns: Sequence[str] = ("*",), where: Where = EVERYTHING
    ) -> pa.Table:
        """See `Lake`."""
        iceberg = self._known(table).iceberg
        return iceberg.scan(row_filter=where, selected_fields=tuple(columns)).to_arrow()

    def schema(self, table: str) -> pa.Schema:
        """See `Lake`."""
        return self._known(table).schema

    def _known(self, table: str) -> IcebergState:
        state = self.state(table)
        if state is None:
            raise MissingTableError(table)
        return state

    def fresh(self, table: Table, rows: pa.Table) -> pa.Table:
        """See `Lake`."""
        return fresh(rows, self.progress(table)) if rows.num_rows else rows

    @retry_conflicts
    def append(self, table: Table, rows: pa.Table, batch_id: int) -> int:
        """See `Lake`."""
        if not rows.num_rows:
            return 0
        iceberg = self.load(table)
        done = _progress(iceberg)
        new = fresh(rows, done)
        if not new.num_rows:
            return 0
        properties = {
            PROGRESS_PROPERTY: to_text(advance(done, new)),
            BATCH_PROPERTY: str(batch_id),
        }
        with self.transaction(iceberg) as transaction:
            transaction.append(
                shape(new, iceberg.schema().as_arrow(), table), snapshot_properties=properties
            )
        return int(new.num_rows)

    def progress(self, table: Table) -> Progress:
        """See `Lake`."""
        return _progress(self.load(table))

    @retry_conflicts
    def upsert(self, table: Table, rows: pa.Table, time_key: str) -> None:
        """See `Lake`; `time_key` is what the table is partitioned by."""
        if not rows.num_rows:
            return
        iceberg = self.load(table)
        schema = iceberg.schema().as_arrow()
        rows = shape(rows, schema, table)
        low, high = pc.min_max(rows[time_key]).values()
        found = iceberg.scan(row_filter=_between(time_key, low, high)).plan_files()
        old = [task.file for task in found]
        parts = [rows]
        if old:
            before = read_files(iceberg, old)
            kept = _without_keys(before, rows, table.key)
            parts = [pa.concat_tables([shape(kept, schema, table), rows])]
        if len(parts[0]) > REWRITTEN_ROWS:
            times = parts[0][time_key]
            inside = pc.and_(pc.greater_equal(times, low), pc.less_equal(times, high))
            parts = [parts[0].filter(pc.invert(inside)), parts[0].filter(inside)]
        with self.transaction(iceberg) as change:
            swap = Swap(change, iceberg.io)
            for file in old:
                swap.delete_data_file(file)
            for part in filter(len, parts):
                for file in write_files(iceberg, part):
                    swap.append_data_file(file)
            swap.commit()

    @retry_conflicts
    def add(self, table: Table, rows: pa.Table) -> None:
        """See `Lake`."""
        iceberg = self.load(table)
        with LakeTransaction(iceberg) as change:
            change.append(shape(rows, iceberg.schema().as_arrow(), table))

    @retry_conflicts
    def replace(self, table: Table, rows: pa.Table) -> None:
        """See `Lake`."""
        iceberg = self.load(table)
        rows = shape(rows, iceberg.schema().as_arrow(), table)
        with LakeTransaction(iceberg) as change:
            if iceberg.current_snapshot() is None:
                change.append(rows)
            else:
                change.overwrite(rows)

    @retry_conflicts
    def tag(self, table: str, commit_id: int, tag: str) -> None:
        """See `Lake`."""
        iceberg = self.catalog.load_table(table)
        if iceberg.metadata.snapshot_by_id(commit_id) is None:
            return
        ref = iceberg.metadata.refs.get(tag)
        if ref is None or ref.snapshot_id != commit_id:
            iceberg.manage_snapshots().create_tag(commit_id, tag).commit()

    @contextmanager
    def transaction(self, iceberg: IcebergTable) -> Iterator[Transaction]:
        """A commit of a stream: it also forgets old snapshots.

        Raises:
            FencedError: the loaded table was written under a newer lease of the stream.
        """
        before = datetime.now(timezone.utc) - self.settings.catalog.snapshot_retention
        newest = int(iceberg.properties.get(EPOCH_PROPERTY, 0))
        require_epoch(self.epoch, newest, ".".join(iceberg.name()))
        with LakeTransaction(iceberg) as transaction:
            if self.epoch is not None and self.epoch > newest:
                transaction.set_properties({EPOCH_PROPERTY: str(self.epoch)})
            expire_old(transaction, before, EXPIRE_AT)
            yield transaction


def _without_keys(before: pa.Table, rows: pa.Table, key: Sequence[str]) -> pa.Table:
    """The rows of `before` with no key of `rows`, by number: a join takes no nested columns."""
    numbers = pa.array(range(before.num_rows), pa.int64())
    numbered = before.select(key).append_column("number", numbers)
    kept = numbered.join(rows.select(key), list(key), join_type="left anti")
    return before.take(kept["number"])


def _progress(iceberg: IcebergTable) -> Progress:
    """The positions that a loaded table holds, as its snapshots say."""
    text = carried_progress(iceberg).get(PROGRESS_PROPERTY)
    return from_text(text) if text else {}


def create_tables(spark: SparkSession, settings: Settings) -> None:
    """Make the namespaces, tables and columns that are missing, and at first the catalog's tables.

    Columns are only added: streams that still run with an older declaration go on (`Lake.append`).
    One that is no longer declared stays, with nulls from then on.

    Raises:
        LakeError: a column has another type than declared, or tables lie in another warehouse.
    """
    name = settings.catalog.name
    spark.sql(f"SHOW NAMESPACES IN {name}").collect()
    with open_catalog(settings) as catalog:
        spaces = catalog.list_namespaces()
        have = {".".join(t) for space in spaces for t in catalog.list_tables(space)}
        there = [t for t in TABLES if t.name in have]
        missing = [t for t in TABLES if t.name not in have]
        for table in there:
            _must_be_here(settings, catalog.load_table(table.name))
        for namespace in sorted({t.name.split(".")[0] for t in missing}):
            spark.sql(f"CREATE NAMESPACE IF NOT EXISTS {name}.{namespace}")
        for table in missing:
            spark.sql(table.create_sql(name))
        for table in there:
            _add_columns(spark, catalog, table)


def _must_be_here(settings: Settings, iceberg: IcebergTable) -> None:
    """Refuse to go on with half of the tables on a disk and half on S3; nothing moves by itself."""
    there, here = urlsplit(iceberg.location()), urlsplit(settings.warehouse)
    if settings.catalog.type == "jdbc" and (there.scheme, there.netloc) != (
        here.scheme,
        here.netloc,
    ):
        raise LakeError(
            f"The tables of the catalog {settings.catalog.name} are in {there.scheme}://"
            f"{there.netloc}, and the settings name {settings.warehouse}: set "
            "STORELAKE_PROFILE or STORELAKE_CATALOG__WAREHOUSE back, or begin anew with "
            "`storelake reset` or another STORELAKE_CATALOG__NAME."
        )


# Another application that starts now may add them first.
@retry(retry=retry_if_exception_type(PySparkException), stop=stop_after_attempt(2), reraise=True)
def _add_columns(spark: SparkSession, catalog: Catalog, table: Table) -> None:
    there = {f.name: f.field_type for f in catalog.load_table(table.name).schema().fields}
    declared = {column.name: column.type for column in table.fields}
    for name in declared.keys() & there.keys():
        has, wants = _spark_type(there[name]), declared[name].replace(" ", "")
        if has != wants:
            raise LakeError(
                f"{table.name}.{name} is {has} in the lake and {wants} in "
                "streaming/lake/tables.py: a table only gets new columns, so declare the new "
                "type under a new name."
            )
    if missing := declared.keys() - there.keys():
        spark.sql(table.add_sql(catalog.name, missing))
        log.info("%s has new columns: %s", table.name, ", ".join(sorted(missing)))


def _spark_type(kind: IcebergType) -> str:
    """An Iceberg type as Spark's DDL has it, without spaces."""
    if isinstance(kind, StructType):
        return f"struct<{','.join(f'{f.name}:{_spark_type(f.field_type)}' for f in kind.fields)}>"
    if isinstance(kind, ListType):
        return f"array<{_spark_type(kind.element_type)}>"
    if isinstance(kind, MapType):
        return f"map<{_spark_type(kind.key_type)},{_spark_type(kind.value_type)}>"
    name = str(kind).replace(" ", "")
    return SPARK_NAMES.get(name, name)


def _between(time_key: str, low: pa.Scalar, high: pa.Scalar) -> BooleanExpression:
    first, last = (moment.as_py().isoformat() for moment in (low, high))
    return And(
        GreaterThanOrEqual(term=time_key, value=first), LessThanOrEqual(term=time_key, value=last)
    )
