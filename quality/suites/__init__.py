"""The suites of every table; `row_rules` turns what streams judge into expectations."""

from __future__ import annotations

from conf.settings import Settings
from conf.stores import Stores
from quality.suite import Suite
from quality.suites.tables import table_suites


def all_suites(settings: Settings, stores: Stores) -> tuple[Suite, ...]:
    """Every suite of the product, those of one table side by side."""
    suites = table_suites(settings, stores)
    return tuple(sorted(suites, key=lambda suite: suite.table))
