"""Rows of `dashboard/sql/store_hourly.sql`, as the console reads them."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from types import SimpleNamespace as Row
from typing import Any


def store_hour(at: datetime, **overrides: Any) -> Row:
    """An hour of B01 that begins at a time of its clock: ten visitors, two orders, 5.00 in all."""
    row = {
        "branch_id": "B01",
        "hour": at.astimezone(timezone.utc),
        "local_hour": at.replace(tzinfo=None),
        "visitors": 10,
        "orders": 2,
        "orders_in_store": 2,
        "conversion_withheld": None,
        "revenue": Decimal("5.00"),
        "revenue_in_store": Decimal("5.00"),
        "orders_other_currency": 0,
        "passers_by": None,
        "capture_rate": None,
        "occupancy_peak": 3,
        "camera_coverage": 1.0,
    }
    assert overrides.keys() <= row.keys()
    return Row(**row | overrides)
