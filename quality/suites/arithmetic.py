"""Columns of an hour, or of a product and day, that contradict each other; impossible rates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from great_expectations.expectations.expectation import Expectation

from conf.contracts.currencies import smallest_unit
from conf.contracts.order_event import STATUSES
from quality.facts import named
from quality.suite import RowSuite, Shape, Suite, null
from streaming.lake.tables import (
    GOLD_ORDER_HOURLY,
    GOLD_PRODUCT_DAILY,
    GOLD_STORE_HOURLY,
    Table,
)


def arithmetic_suites() -> list[Suite]:
    """All suites of this module."""
    conversion = null(
        "conversion_at_most_one",
        "More orders made in the shop than visitors in an hour that cameras have seen: they miss "
        "people, or the channel of orders is wrong.",
        "impossible",
        "conversion_withheld is not `above 100 %`",
        "warning",
    )
    sums = "counts add up to their totals, and rates are quotients of the columns beside them"
    hour = null("adds_up", "The columns of an hour contradict each other.", "differs", sums)
    meaning = "The columns of a product and day contradict each other."
    day = null("adds_up", meaning, "differs", sums)
    hourly = ("branch_id", "hour", "differs")
    daily = ("branch_id", "day", "product_id", "differs")
    return [
        _adds_up(GOLD_ORDER_HOURLY, (hour,), hourly, order_arithmetic),
        _adds_up(GOLD_PRODUCT_DAILY, (day,), daily, product_arithmetic),
        _adds_up(GOLD_STORE_HOURLY, (hour, conversion), (*hourly, "impossible"), store_arithmetic),
    ]


def _adds_up(
    table: Table, expectations: tuple[Expectation, ...], sample: tuple[str, ...], shape: Shape
) -> RowSuite:
    return RowSuite(table.name, expectations, sample, "arithmetic", shape)


def _total(rows: pa.Table, columns: Sequence[str]) -> Any:
    total = rows[columns[0]]
    for name in columns[1:]:
        total = pc.add(total, rows[name])
    return total


def _half_units(rows: pa.Table) -> pa.Array:
    """Half the smallest unit of the currency of each row, and a little more."""
    units = [smallest_unit(code or "") for code in rows["currency"].to_pylist()]
    return pa.array([float(unit) * 0.51 for unit in units], pa.float64())


def _off(left: Any, right: Any, by: Any) -> Any:
    """Whether two columns differ by more than half a unit of the last place."""
    distance = pc.abs(pc.subtract(left.cast(pa.float64()), right.cast(pa.float64())))
    return pc.greater(distance, by)


def _arithmetic(rows: pa.Table, keys: Sequence[str], needs: Sequence[str], tests: Any) -> pa.Table:
    """The keys, and in `differs` the names of the tests that fail; of missing columns nothing."""
    kept = {name: rows[name] for name in keys if name in rows.column_names}
    whole = rows.num_rows and {*keys, *needs} <= set(rows.column_names)
    return pa.table(
        {**kept, "differs": named(tests(rows)) if whole else pa.nulls(len(rows), pa.string())}
    )


def order_arithmetic(rows: pa.Table) -> pa.Table:
    """Rows of `gold.order_hourly`: statuses, payments, channels and money of an hour."""
    statuses = [f"{status}_count" for status in STATUSES]
    parts = ["cash_count", "online_count", "in_store_count", "in_store_cancelled_count"]
    money = ["order_count", "total_revenue", "currency", "average_order_value"]

    def tests(rows: pa.Table) -> dict[str, Any]:
        count, revenue = rows["order_count"], rows["total_revenue"].cast(pa.float64())
        average = pc.divide(revenue, pc.if_else(pc.equal(count, 0), None, count))
        stored = rows["average_order_value"]
        return {
            "statuses": pc.not_equal(_total(rows, statuses), count),
            "payments": pc.greater(_total(rows, parts[:2]), count),
            "in_store": pc.greater(rows["in_store_count"], count),
            "in_store_cancelled": pc.greater(rows[parts[3]], rows["cancelled_count"]),
            "average_order_value": pc.or_kleene(
                _off(stored, average, _half_units(rows)),
                # An hour without orders has no average, and any other one has.
                pc.not_equal(pc.is_null(stored), pc.is_null(average)),
            ),
        }

    return _arithmetic(rows, ("branch_id", "hour"), [*statuses, *parts, *money], tests)


def product_arithmetic(rows: pa.Table) -> pa.Table:
    """Rows of `gold.product_daily`: net is all less cancelled and returned."""

    def tests(rows: pa.Table) -> dict[str, Any]:
        return {
            "cancelled_orders": pc.greater(rows["cancelled_orders"], rows["order_count"]),
            **{
                f"net_{name}": pc.not_equal(
                    rows[name],
                    _total(rows, [f"{part}_{name}" for part in ("net", "cancelled", "returned")]),
                )
                for name in ("quantity", "revenue")
            },
        }

    parts = ("", "net_", "cancelled_", "returned_")
    needs = [f"{a}{b}" for a in parts for b in ("quantity", "revenue")]
    needs += ["cancelled_orders", "order_count"]
    return _arithmetic(rows, ("branch_id", "day", "product_id"), needs, tests)


def store_arithmetic(rows: pa.Table) -> pa.Table:
    """Rows of `gold.store_hourly`: the rates, withheld or not; `impossible`: above 100 %."""
    rates = {
        "conversion_rate": "orders_in_store",
        "conversion_rate_net": "orders_in_store_net",
        "revenue_per_visitor": "revenue_in_store",
    }
    needs = ("visitors", "conversion_withheld", "currency", *rates, *rates.values())

    def tests(rows: pa.Table) -> dict[str, Any]:
        shown = pc.is_null(rows["conversion_withheld"])
        visitors = rows["visitors"].cast(pa.float64())
        visitors = pc.if_else(pc.equal(visitors, 0), None, visitors)
        by = {"revenue_per_visitor": _half_units(rows)}
        off = {
            rate: _off(
                rows[rate], pc.divide(rows[of].cast(pa.float64()), visitors), by.get(rate, 1e-9)
            )
            for rate, of in rates.items()
        }
        withheld = {f"{rate}_shown": pc.equal(shown, pc.is_null(rows[rate])) for rate in rates}
        return {**off, **withheld}

    shaped = _arithmetic(rows, ("branch_id", "hour"), needs, tests)
    return shaped.append_column("impossible", _impossible(rows))


def _impossible(rows: pa.Table) -> pa.Array:
    """The reason of hours whose rate would be above 100 %."""
    if "conversion_withheld" not in rows.column_names:
        return pa.nulls(len(rows), pa.string())
    reason = rows["conversion_withheld"].cast(pa.string())
    return pc.if_else(pc.equal(reason, "above 100 %"), reason, None)
