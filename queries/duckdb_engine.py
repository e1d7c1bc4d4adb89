"""DuckDB, inside this process: no server to wait for.

Its own extension for Iceberg is a download that a machine without the internet cannot have, and
supports no JDBC catalog. So PyIceberg lists the files of a snapshot, and DuckDB scans them
as an Arrow data set: only the columns and row groups that the query needs are read. Files are
matched to the table by the names of columns, since those of our tables never change
(`create_tables`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.table import Table as IcebergTable
from sqlglot import exp
from typing_extensions import override

from conf.settings import Settings
from queries.engine import Engine, RowStream
from queries.failures import explain
from queries.lake import Shelf, open_shelf
from queries.references import Reference, parse_reading, references, snapshot_of
from queries.show_tables import SHOW_COLUMNS, show_tables
from streaming.lake.dialects import in_dialect

BATCH_ROWS = 10_000
METADATA = re.compile(r"\b(information_schema|pg_catalog|duckdb_\w+\(|SHOW\b)", re.IGNORECASE)


class DuckDbEngine(Engine):
    """An empty database, in which each query finds the tables that it names."""

    name = "duckdb"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @override
    @contextmanager
    def stream(self, sql: str) -> Iterator[RowStream]:
        query = parse_reading(sql, self.name)
        if (shown := show_tables(self._settings, sql)) is not None:
            yield shown
            return
        catalog = self._settings.catalog.name
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(f"ATTACH ':memory:' AS \"{catalog}\"")
            connection.execute(f'USE "{catalog}"')
            try:
                connection.execute(self._prepared(connection, query, sql))
                found = connection.description or ()
                names, types = (column[0] for column in found), (str(c[1]) for c in found)
                yield RowStream.of(names, types, _tuples(connection))
            except duckdb.Error as error:
                reported = str(error).partition(" Error: ")[2] or str(error)
                raise explain(self._settings, "DuckDB", query, reported) from error

    def close(self) -> None:
        """Nothing is kept from one query to the next."""

    def _prepared(
        self, connection: duckdb.DuckDBPyConnection, query: exp.Expr | None, sql: str
    ) -> str:
        """The text to run, once everything is there that it names."""
        sql = SHOW_COLUMNS.sub("DESCRIBE ", sql)
        if query is None:
            connection.extract_statements(sql)  # an error of syntax needs no lake
        if query is not None and not references(query) and not METADATA.search(sql):
            return sql
        with open_shelf(self._settings) as shelf:
            fetcher = _Fetcher(connection, shelf)
            if query is None:
                fetcher.fetch_mentioned(sql)
            elif not isinstance(query, exp.Describe):
                fetcher.fetch(query)
            if query is None or isinstance(query, exp.Describe) or METADATA.search(sql):
                fetcher.create_empty()
        # DuckDB takes its own words as they are; it has none for the versions of a table.
        return in_dialect(query, self.name) if query is not None and fetcher.renamed else sql


def _tuples(connection: duckdb.DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    while rows := connection.fetchmany(BATCH_ROWS):
        yield from rows


class _Fetcher:
    """Puts tables and views where a query looks for them."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, shelf: Shelf) -> None:
        self._connection, self._shelf = connection, shelf
        self._there: set[str] = set()
        self._empty = self.renamed = False

    def fetch(self, query: exp.Expr) -> None:
        """Everything that a query refers to; a table at a version gets a name of its own."""
        for reference in references(query):
            name = self._name(reference)
            if name not in self._there:
                self._there.add(name)
                self._put(name, reference)

    def fetch_mentioned(self, sql: str) -> None:
        """Everything that a statement mentions which sqlglot cannot parse."""
        for name in self._shelf.names():
            if re.search(rf"\b{re.escape(name)}\b", sql):
                self.fetch(_select_all(name))

    def create_empty(self) -> None:
        """All others without rows: for `DESCRIBE` and `information_schema`."""
        self._empty = True
        for name in self._shelf.names():
            self.fetch(_select_all(name))

    def _name(self, reference: Reference) -> str:
        if reference.version is None:
            return reference.table
        namespace, table = reference.table.split(".", 1)
        node = reference.node
        named = table if self._empty else f"{table}@{reference.version}"
        if not node.alias:
            node.set("alias", exp.TableAlias(this=exp.to_identifier(table, quoted=True)))
        node.set("this", exp.to_identifier(named, quoted=True))
        node.set("version", None)
        node.set("when", None)
        self.renamed |= not self._empty
        return f"{namespace}.{named}"

    def _put(self, name: str, reference: Reference) -> None:
        namespace, table = name.split(".", 1)
        self._connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{namespace}"')
        place = '"{}"."{}"'.format(namespace, table.replace('"', '""'))
        view = self._shelf.view(reference)
        if view is not None:
            self.fetch(view)
            self._connection.execute(f"CREATE VIEW {place} AS {in_dialect(view, 'duckdb')}")
            return
        iceberg = self._shelf.table(reference.table)
        handle = f"lake_{len(self._there)}"
        if self._empty:
            self._connection.register(handle, iceberg.schema().as_arrow().empty_table())
            self._connection.execute(f"CREATE TABLE {place} AS FROM {handle}")
            self._connection.unregister(handle)
        else:
            rows = rows_of(iceberg, snapshot_of(iceberg, reference.table, reference.version))
            self._connection.register(handle, rows)
            self._connection.execute(f"CREATE VIEW {place} AS FROM {handle}")


def _select_all(name: str) -> exp.Select:
    return exp.select("*").from_(name)


def rows_of(iceberg: IcebergTable, snapshot_id: int | None) -> ds.Dataset | pa.Table:
    """Rows of a snapshot, read when scanned; at once where rows were deleted in place.

    Args:
        iceberg: the table.
        snapshot_id: None for a table without a snapshot.
    """
    if snapshot_id is None:
        return iceberg.schema().as_arrow().empty_table()
    scan = iceberg.scan(snapshot_id=snapshot_id)
    files = list(scan.plan_files())
    schema = scan.projection().as_arrow()
    if not files:
        return schema.empty_table()
    io = iceberg.io
    if not isinstance(io, PyArrowFileIO) or any(file.delete_files for file in files):
        return scan.to_arrow()
    parts = [PyArrowFileIO.parse_location(file.file.file_path) for file in files]
    scheme, netloc, _ = parts[0]
    return ds.dataset(
        [path for _, _, path in parts],
        schema=schema,
        format="parquet",
        filesystem=io.fs_by_scheme(scheme, netloc),
    )
