"""`silver.detections` for the console: the one table of the lake that it reads.

The console's role of Postgres may read where the newest metadata of this table is, and of no other
(the view `detections_metadata`); files are read with the S3 keys of readers.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime

import psycopg
from psycopg_pool import PoolTimeout
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError, RESTError
from pyiceberg.table import StaticTable, Table

from conf.errors import StorelakeError, first_line
from conf.settings import Settings
from conf.storage import complaint, file_properties
from dashboard.board import ReadError
from dashboard.reader import ReadSnapshot
from streaming.lake.iceberg.catalog import open_catalog
from streaming.lake.tables import SILVER_DETECTIONS

LOCATION = "SELECT metadata_location FROM detections_metadata WHERE catalog_name = %(catalog)s"
NO_TABLE = "there is no silver.detections yet: `storelake run` creates it"


class DetectionsReader:
    """Loads `silver.detections`.

    Args:
        settings: of the console.
        look: opens a snapshot of the database.
    """

    def __init__(
        self, settings: Settings, look: Callable[[], AbstractContextManager[ReadSnapshot]]
    ) -> None:
        self.settings = settings.acting_as("reader")
        self._look = look
        self._catalog: Catalog | None = None
        self._known: Table | None = None

    def load(self) -> tuple[Table, datetime]:
        """The table as it is now, and the database's time (UTC). Blocks; call it from a thread.

        Raises:
            ReadError: why it cannot be read.
        """
        conf = self.settings.catalog
        if conf.format != "iceberg":
            raise ReadError(f"positions need Iceberg, and catalog.format is {conf.format}")
        try:
            with self._look() as look:
                in_postgres = conf.type != "rest"
                found = look.ask(LOCATION, {"catalog": conf.name}) if in_postgres else ()
            if not in_postgres:
                return self._of_rest(), look.at
            if not found:
                raise ReadError(NO_TABLE)
            return self._at(str(found[0].metadata_location)), look.at
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedTable) as error:
            raise ReadError(f"{first_line(error)}: run `storelake migrate`") from error
        except NoSuchTableError as error:
            raise ReadError(NO_TABLE) from error
        except (psycopg.Error, PoolTimeout, RESTError, StorelakeError) as error:
            raise ReadError(first_line(error).rstrip(".")) from error
        except OSError as error:
            raise self.unreadable(error) from error

    def unreadable(self, error: OSError) -> ReadError:
        """What a failed access to a file means."""
        on_s3 = self.settings.bucket is not None
        reason = complaint(self.settings, error) if on_s3 else first_line(error)
        return ReadError(reason.rstrip("."))

    def _at(self, location: str) -> Table:
        """Its metadata, parsed once: a metadata file never changes."""
        known = self._known
        if known is None or known.metadata_location != location:
            known = StaticTable.from_metadata(location, file_properties(self.settings))
            self._known = known
        return known

    def _of_rest(self) -> Table:
        if self._catalog is None:
            self._catalog = open_catalog(self.settings)
        return self._catalog.load_table(SILVER_DETECTIONS.name)
