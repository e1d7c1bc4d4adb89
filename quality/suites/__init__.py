"""The suites of every table; `row_rules` turns what streams validate into expectations."""

from __future__ import annotations

from conf.settings import Settings
from conf.stores import Stores
from quality.suite import Suite
from quality.suites.accounts import account_suites
from quality.suites.anomalies import anomaly_suites
from quality.suites.business import business_suites
from quality.suites.counted import counted_suites
from quality.suites.frames import frame_suites
from quality.suites.labels import label_suites
from quality.suites.replicas import replica_suites
from quality.suites.row_rules import detection_suites, order_suites
from quality.suites.sums import sum_suites
from quality.suites.tables import table_suites


def all_suites(settings: Settings, stores: Stores) -> tuple[Suite, ...]:
    """Every suite, those of one table together."""
    suites = [
        *table_suites(settings, stores),
        *order_suites(settings, stores),
        *detection_suites(settings, stores),
        *replica_suites(),
        *sum_suites(),
        *account_suites(settings),
        *counted_suites(),
        *frame_suites(),
        *label_suites(),
        *business_suites(settings),
        *anomaly_suites(),
    ]
    return tuple(sorted(suites, key=lambda suite: suite.table))
