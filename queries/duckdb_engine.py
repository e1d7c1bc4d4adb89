"""DuckDB, inside this process: no server, an answer in a second.

Its own extension for Iceberg is a download that a machine without the internet cannot have, and
supports no JDBC catalog. So PyIceberg lists the files of a snapshot, and DuckDB scans them
as an Arrow data set: only the columns and row groups that the query needs are read. Files are
matched to the table by the names of columns, since those of our tables never change
(`create_tables`).
"""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.table import Table as IcebergTable
from sqlglot import exp
from typing_extensions import override

from conf.settings import Settings
from queries.engine import Answer, Engine
from queries.failures import explain
from queries.lake import Shelf, open_shelf
from queries.references import Reference, parse_reading, references, snapshot_of
from streaming.lake.dialects import in_dialect


class DuckDbEngine(Engine):
    """An empty database, in which each query finds the tables that it names."""

    name = "duckdb"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @override
    def ask(self, sql: str) -> Answer:
        query = parse_reading(sql, self.name)
        catalog = self._settings.catalog.name
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(f"ATTACH ':memory:' AS \"{catalog}\"")
            connection.execute(f'USE "{catalog}"')
            try:
                text = sql if query is None else self._prepared(connection, query, sql)
                connection.execute(text)
                columns = [column[0] for column in connection.description or ()]
                return Answer.of(columns, connection.fetchall())
            except duckdb.Error as error:
                reported = str(error).partition(" Error: ")[2] or str(error)
                raise explain(self._settings, "DuckDB", query, reported) from error

    def close(self) -> None:
        """Nothing is kept from one query to the next."""

    def _prepared(self, connection: duckdb.DuckDBPyConnection, query: exp.Expr, sql: str) -> str:
        """The text to run, once everything is there that it names."""
        if not references(query):
            return sql
        with open_shelf(self._settings) as shelf:
            fetcher = _Fetcher(connection, shelf)
            fetcher.fetch(query)
        # DuckDB takes its own words as they are; it has none for the versions of a table.
        return in_dialect(query, self.name) if fetcher.renamed else sql


class _Fetcher:
    """Puts tables and views where a query looks for them."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, shelf: Shelf) -> None:
        self._connection, self._shelf = connection, shelf
        self._there: set[str] = set()
        self.renamed = False

    def fetch(self, query: exp.Expr) -> None:
        """Everything that a query refers to; a table at a version gets a name of its own."""
        for reference in references(query):
            name = self._name(reference)
            if name not in self._there:
                self._there.add(name)
                self._put(name, reference)

    def _name(self, reference: Reference) -> str:
        if reference.version is None:
            return reference.table
        namespace, table = reference.table.split(".", 1)
        node = reference.node
        named = f"{table}@{reference.version}"
        if not node.alias:
            node.set("alias", exp.TableAlias(this=exp.to_identifier(table, quoted=True)))
        node.set("this", exp.to_identifier(named, quoted=True))
        node.set("version", None)
        node.set("when", None)
        self.renamed = True
        return f"{namespace}.{named}"

    def _put(self, name: str, reference: Reference) -> None:
        namespace, table = name.split(".", 1)
        self._connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{namespace}"')
        view = self._shelf.view(reference.table)
        if view is not None:
            self.fetch(view)
            text = in_dialect(view, "duckdb")
        else:
            iceberg = self._shelf.table(reference.table)
            rows = rows_of(iceberg, snapshot_of(iceberg, reference.table, reference.version))
            handle = f"lake_{len(self._there)}"
            self._connection.register(handle, rows)
            text = f"SELECT * FROM {handle}"  # noqa: S608 (a name of our own)
        quoted = table.replace('"', '""')
        self._connection.execute(f'CREATE VIEW "{namespace}"."{quoted}" AS {text}')


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
