"""Shared by the notebooks: answers as data frames, and plots with a caption."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from decimal import Decimal

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from pyiceberg.table import Table as IcebergTable

from conf.settings import Settings, load_settings
from queries.as_of import as_of
from queries.ask import find_question
from queries.engine import Answer, Engine
from queries.engines import open_engine
from streaming.lake.iceberg.catalog import open_catalog


class Lab:
    """The lake of the settings, on one engine, as pandas frames."""

    def __init__(self, engine: str = "duckdb", settings: Settings | None = None) -> None:
        self.settings = (settings or load_settings()).acting_as("reader")
        self.engine: Engine = open_engine(self.settings, engine)

    def ask(self, name: str, at: str | None = None) -> pd.DataFrame:
        """The answer to a question of docs/QUERIES.md, now or as of a moment (`as_of`)."""
        return self.sql(find_question(name).for_engine(self.engine.name), at)

    def sql(self, query: str, at: str | None = None) -> pd.DataFrame:
        """The answer to any query that only reads, in the SQL of the engine."""
        text = query if at is None else as_of(self.settings, self.engine.name, query, at)
        return to_frame(self.engine.ask(text))

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
    _, axes = plt.subplots(figsize=(9, 3.6), layout="constrained")
    axes.set_title(f"{title}\n", loc="left", fontweight="bold")
    axes.text(0, 1.03, caption, transform=axes.transAxes, fontsize=9, color="0.35")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)
    return axes
