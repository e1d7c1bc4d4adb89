"""The lake as a query finds it: which tables and views there are, and their snapshots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches

import sqlglot
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table as IcebergTable
from sqlalchemy.exc import ProgrammingError
from sqlglot import exp

from conf.settings import Settings
from conf.stores import load_stores
from queries.engine import QueryError
from queries.references import Reference, references, snapshot_of
from streaming.lake.dialects import DIALECT
from streaming.lake.iceberg.catalog import open_catalog
from streaming.lake.views import LakeView, by_name


class Shelf:
    """Tables and views by name."""

    def __init__(self, catalog: Catalog, views: Mapping[str, LakeView]) -> None:
        self._catalog, self._views = catalog, views

    def view(self, reference: Reference) -> exp.Expr | None:
        """The parsed query of a view, or None when there is no such view.

        Raises:
            QueryError: a version of a view is wanted.
        """
        view = self._views.get(reference.table)
        if view is None:
            return None
        if reference.version is not None:
            raise QueryError(
                f"{reference.table} is a view, which has no versions: ask as of a moment with "
                "--at, or name its tables."
            )
        return sqlglot.parse_one(view.sql, read=DIALECT)

    def table(self, name: str) -> IcebergTable:
        """A table.

        Raises:
            QueryError: there is none.
        """
        try:
            return self._catalog.load_table(name)
        except NoSuchTableError:
            namespace = name.partition(".")[0]
            near = [one for one in self.names() if one.startswith(f"{namespace}.")]
            there = f"in {namespace} there are {', '.join(near)}" if near else self._similar(name)
            raise QueryError(f"The lake has no table {name}: {there}.") from None

    def names(self) -> list[str]:
        """Names of all tables and views."""
        spaces = self._catalog.list_namespaces()
        tables = [".".join(name) for space in spaces for name in self._catalog.list_tables(space)]
        return sorted({*tables, *self._views})

    def is_view(self, name: str) -> bool:
        """Whether it is a view of `analyst`."""
        return name in self._views

    def _similar(self, name: str) -> str:
        table, known = name.rpartition(".")[2], self.names()
        near = [one for one in known if one.partition(".")[2] == table]
        near += get_close_matches(name, known)
        return f"did you mean {' or '.join(dict.fromkeys(near))}" if near else "ask `SHOW TABLES`"

    def check(self, query: exp.Expr) -> None:
        """Make sure that everything is there that a query refers to.

        Raises:
            QueryError: a table, a view or a snapshot is not there.
        """
        for reference in references(query):
            self._check(reference)

    def missing(self, name: str) -> QueryError:
        """The error of a name without a namespace."""
        return QueryError(f"The lake has no table {name}: {self._similar(name)}.")

    def _check(self, reference: Reference) -> None:
        view = self.view(reference)
        if view is not None:
            self.check(view)
        else:
            snapshot_of(self.table(reference.table), reference.table, reference.version)


@contextmanager
def open_shelf(settings: Settings) -> Iterator[Shelf]:
    """The lake of this deployment.

    Raises:
        QueryError: nothing was ever written.
        StorageError: its catalog or its files cannot be reached.
    """
    try:
        with open_catalog(settings) as catalog:
            yield Shelf(catalog, by_name(load_stores(settings.stores_file)))
    except ProgrammingError as error:
        raise QueryError(
            "There is no lake yet: start the streams once with `storelake run`, which makes it."
        ) from error
