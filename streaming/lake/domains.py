"""Allowed values of a column, as data: `tables.py` declares them, `quality` validates them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Values:
    """A text out of a fixed set."""

    known: tuple[str, ...]


@dataclass(frozen=True)
class ValueRange:
    """A number from `low` to `high`, both included; without `high` there is no upper bound."""

    low: float = 0.0
    high: float | None = None


Domain = Values | ValueRange
"""Every domain includes null: `Table.nullable` names the columns that may be null."""
