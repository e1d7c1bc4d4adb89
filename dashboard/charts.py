"""Options of the charts (ECharts): visitors are bars, orders are points.

Colours are read on light and on dark; text takes its colour from the page (style.css). Times are
those of the branch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from conf.stores import Branch
from dashboard.board import Snapshot
from dashboard.branches import MINUTE, branches_today
from dashboard.words import local

VISITORS, ORDERS = "#1098ad", "#e8590c"
MINUTES = 60
Options = dict[str, Any]


def hours_chart(snapshot: Snapshot, branch: Branch) -> Options | None:
    """Visitors and orders of today by the hour; a gap where visitors are not known.

    None without an hour of today.
    """
    (today,) = (one for one in branches_today(snapshot) if one.branch.branch_id == branch.branch_id)
    return _chart(
        [f"{hour.local_hour:%H:%M}" for hour in today.hours],
        [hour.visitors for hour in today.hours],
        [hour.orders for hour in today.hours],
    )


def minutes_chart(snapshot: Snapshot, branch: Branch) -> Options | None:
    """The last hour by the minute, up to the present one; None when all of it is zero."""
    last = snapshot.at.replace(second=0, microsecond=0)
    rows = {r.minute: r for r in snapshot.rows("branch_minutes") if r.branch_id == branch.branch_id}
    minutes = [last - n * MINUTE for n in reversed(range(MINUTES))]
    found = [rows.get(minute) for minute in minutes]
    if not any(row and (row.entries or row.orders) for row in found):
        return None
    return _chart(
        [local(minute, branch.timezone) for minute in minutes],
        [row.entries if row else 0 for row in found],
        [(row.orders or None) if row else None for row in found],
        kind="scatter",  # a line would jump between none and one
    )


def _chart(
    times: list[str],
    visitors: Sequence[int | None],
    orders: Sequence[int | None],
    *,
    kind: Literal["line", "scatter"] = "line",
) -> Options | None:
    if not times:
        return None
    size = 6 if kind == "line" else 9
    return {
        "animation": False,
        "color": [VISITORS, ORDERS],
        "grid": {"left": 8, "right": 8, "top": 34, "bottom": 4, "containLabel": True},
        "legend": {"top": 0, "left": 0, "itemWidth": 18},
        "tooltip": {"trigger": "axis", "confine": True},
        "xAxis": {"type": "category", "data": times, "axisLabel": {"hideOverlap": True}},
        "yAxis": {"type": "value", "minInterval": 1, "splitLine": {"lineStyle": {"opacity": 0.3}}},
        "series": [
            {"name": "Visitors", "type": "bar", "data": list(visitors), "barMaxWidth": 28},
            {
                "name": "Orders",
                "type": kind,
                "data": list(orders),
                "symbol": "circle",
                "symbolSize": size,
            },
        ],
    }
