"""The Iceberg catalog without Spark: in Postgres, or behind a REST service."""

from __future__ import annotations

from collections.abc import Mapping

from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
from pyiceberg.exceptions import ForbiddenError, OAuthError, RESTError, UnauthorizedError
from pyiceberg.table import CommitTableResponse, StagedTable
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update import TableRequirement, TableUpdate
from pyiceberg.typedef import Identifier
from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError
from typing_extensions import override

from conf.errors import database_down, first_line
from conf.settings import Settings
from conf.storage import file_properties, rest_properties
from streaming.lake.storage import StorageError, check_storage
from streaming.sources.silence import SilenceWatch


def watch_connections(engine: Engine, dsn: str) -> SilenceWatch:
    """Break connections to Postgres whose server does not answer; close the result at the end."""
    watch = SilenceWatch(dsn)
    event.listen(engine, "checkout", lambda connection, *_: watch.begin(connection))
    event.listen(engine, "checkin", lambda connection, *_: watch.end(connection))
    return watch


class KnowingCatalog(SqlCatalog):
    """Caches the parsed metadata of each table while the catalog names the same metadata file.

    A metadata file never changes. Without the cache, a commit parses all snapshots twice, and a
    polling reader several times a second.
    """

    def __init__(self, name: str, **properties: str) -> None:
        super().__init__(name, **properties)
        self._known: dict[str, IcebergTable] = {}  # by name
        self._watch: SilenceWatch | None = None

    def watch(self, dsn: str) -> None:
        """Break connections whose server has stopped answering, until `close`."""
        self._watch = watch_connections(self.engine, dsn)

    def close(self) -> None:
        """Close the connections."""
        if self._watch is not None:
            self._watch.close()
        super().close()

    def _convert_orm_to_iceberg(self, orm_table: IcebergTables) -> IcebergTable:
        name = f"{orm_table.table_namespace}.{orm_table.table_name}"
        location = str(orm_table.metadata_location)
        known = self._known.get(name)
        if known is None or known.metadata_location != location:
            known = self._known[name] = super()._convert_orm_to_iceberg(orm_table)
        # A new object each time, since a commit through it changes it.
        return IcebergTable(known.name(), known.metadata, location, known.io, self)

    @override
    def _update_and_stage_table(
        self,
        current_table: IcebergTable | None,
        table_identifier: Identifier,
        requirements: tuple[TableRequirement, ...],
        updates: tuple[TableUpdate, ...],
    ) -> StagedTable:
        staged = super()._update_and_stage_table(
            current_table, table_identifier, requirements, updates
        )
        before = current_table.metadata.last_updated_ms if current_table else 0
        if staged.metadata.last_updated_ms < before:
            staged.metadata = _without_future(staged.metadata)
        return staged

    @override
    def commit_table(
        self,
        table: IcebergTable,
        requirements: tuple[TableRequirement, ...],
        updates: tuple[TableUpdate, ...],
    ) -> CommitTableResponse:
        made = super().commit_table(table, requirements, updates)
        name = ".".join(table.name())
        self._known[name] = IcebergTable(
            table.name(), made.metadata, made.metadata_location, table.io, self
        )
        return made


def _without_future(metadata: TableMetadata) -> TableMetadata:
    """The metadata with no time after that of its commit: a clock that was ahead was set back.

    Engines in Java read no table whose times are out of order by more than a minute.
    """
    last = metadata.last_updated_ms
    logs = ("snapshots", "snapshot_log", "metadata_log")
    return metadata.model_copy(
        update={
            log: [
                one.model_copy(update={"timestamp_ms": min(one.timestamp_ms, last)})
                for one in getattr(metadata, log)
            ]
            for log in logs
        }
    )


def open_catalog(settings: Settings) -> Catalog:
    """The catalog without Spark, for writers on the driver and for readers.

    It keeps connections: use it in a `with` block, or close it.

    Raises:
        SettingsError: the database password is missing, or a key of the S3.
        StorageError: the warehouse or the catalog does not answer, or denies access.
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
        catalog.engine.connect().close()  # back to the pool, for the first query
    except OperationalError as error:
        catalog.close()
        place = f"The catalog in Postgres at {settings.postgres.host}:{settings.postgres.port}"
        raise StorageError(database_down(place, error.orig or error)) from error
    return catalog


def _open_rest(settings: Settings, files: Mapping[str, str]) -> Catalog:
    from pyiceberg.catalog.rest import RestCatalog  # noqa: PLC0415 - it loads a client of HTTP

    uri = settings.catalog.uri
    try:
        return RestCatalog(settings.catalog.name, **rest_properties(settings), **files)
    except (UnauthorizedError, ForbiddenError, OAuthError) as error:
        raise StorageError(
            f"The REST catalog at {uri} refuses us ({first_line(error)[:200]}): set "
            "STORELAKE_CATALOG__TOKEN or STORELAKE_CATALOG__CREDENTIAL to valid ones."
        ) from error
    except (OSError, RESTError) as error:  # what `requests` raises is an OSError
        raise StorageError(
            f"The REST catalog at {uri} does not answer ({first_line(error)[:200]}): check that it "
            "runs, and STORELAKE_CATALOG__URI."
        ) from error
