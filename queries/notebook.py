"""Shared by the notebooks: answers as data frames, and plots with a caption."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pyiceberg.table import Table as IcebergTable

from conf.settings import Settings, load_settings
from conf.stores import load_stores
from queries.as_of import as_of
from queries.ask import find_question
from queries.engine import Answer, Engine
from queries.engines import open_engine
from queries.references import parse_reading, references
from streaming.lake.iceberg.catalog import open_catalog


class Lab:
    """The lake of the settings, on one engine, as pandas frames."""

    def __init__(self, engine: str = "duckdb", settings: Settings | None = None) -> None:
        self.settings = (settings or load_settings()).acting_as("reader")
        self.engine: Engine = open_engine(self.settings, engine)

    def ask(self, name: str, at: str | None = None) -> pd.DataFrame:
        """The answer to a question of docs/QUERIES.md, now or as of a moment (`as_of`).

        An answer without rows also prints why.
        """
        return self.sql(find_question(name).for_engine(self.engine.name), at)

    def sql(self, query: str, at: str | None = None) -> pd.DataFrame:
        """The answer to any query that only reads, in the SQL of the engine; see `ask`."""
        text = query if at is None else as_of(self.settings, self.engine.name, query, at)
        found = to_frame(self.engine.ask(text))
        if found.empty:
            self._explain_empty(query, at)
        return found

    def _explain_empty(self, query: str, at: str | None) -> None:
        """Print how many rows the tables of a query have that has none."""
        parsed = parse_reading(query, self.engine.name)
        counts = []
        for table in sorted({one.table for one in references(parsed)} if parsed else ()):
            text = f"SELECT count(*) FROM {table}"  # noqa: S608 (the name of a table)
            if at is not None:
                text = as_of(self.settings, self.engine.name, text, at)
            counts.append((table, int(self.engine.ask(text).rows[0][0])))
        reason = "none fits" if any(rows for _, rows in counts) else "nothing was counted yet"
        of_tables = ", ".join(f"{table} has {rows:,}" for table, rows in counts)
        sys.stdout.write(f"No rows: {reason} ({of_tables}).\n")

    def open_hours_of_next_week(self, branch_id: str, newest: pd.Timestamp) -> pd.DatetimeIndex:
        """The hours at which a branch is open in the seven days after a day, on its own clock."""
        stores = load_stores(self.settings.stores_file)
        branch = next(one for one in stores.branches if one.branch_id == branch_id)
        start = newest.normalize() + pd.Timedelta(days=1)
        hours = pd.date_range(start, periods=7 * 24, freq="h")
        zone = ZoneInfo(branch.timezone)
        return hours[[branch.is_open(hour.to_pydatetime().replace(tzinfo=zone)) for hour in hours]]

    @contextmanager
    def table(self, name: str) -> Iterator[IcebergTable]:
        """A table with its metadata: snapshots, files, tags."""
        with closing(open_catalog(self.settings)) as catalog:
            yield catalog.load_table(name)


def to_frame(answer: Answer) -> pd.DataFrame:
    """An answer as a frame; money becomes a float, which is for looking, not for adding up."""

    def seen(value: object) -> object:
        return float(value) if isinstance(value, Decimal) else value

    rows = [[seen(value) for value in row] for row in answer.rows]
    return pd.DataFrame(rows, columns=list(answer.columns))


def chart(title: str, x: str, y: str, caption: str) -> Axes:
    """Empty axes with a title, names with units, and a caption.

    Args:
        title: of the plot.
        x: name and unit.
        y: name and unit.
        caption: one sentence about the plot.
    """
    return _titled(plt.subplots(figsize=(9, 3.6), layout="constrained"), title, x, y, caption)[0]


def charts(
    title: str, names: Iterable[str], x: str, y: str, caption: str
) -> dict[str, tuple[Axes, str]]:
    """As `chart`: axes and a colour for each name, such as a branch, all with the same scale."""
    rows = sorted(set(names)) or ["no rows"]
    made = plt.subplots(
        len(rows),
        figsize=(9, 1.2 + 2.2 * len(rows)),
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    axes = _titled(made, title, x, y, caption)
    for one, name in zip(axes, rows, strict=True):
        one.annotate(name, (1, 1), xycoords="axes fraction", ha="right", va="top", weight="bold")
    return {n: (one, f"C{i % 10}") for i, (n, one) in enumerate(zip(rows, axes, strict=True))}


def _titled(made: tuple[Figure, Any], title: str, x: str, y: str, caption: str) -> list[Axes]:
    axes = list(np.atleast_1d(made[1]))
    for one in axes:
        one.set_ylabel(y)
        one.spines[["top", "right"]].set_visible(False)
        one.grid(axis="y", color="0.9")
        one.set_axisbelow(True)
    axes[0].set_title(f"{title}\n", loc="left", fontweight="bold")
    axes[0].text(0, 1.03, caption, transform=axes[0].transAxes, fontsize=9, color="0.35")
    axes[-1].set_xlabel(x)
    return axes
