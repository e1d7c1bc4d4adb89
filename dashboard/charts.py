"""Options of the charts (ECharts): visitors are bars, orders are points, a day before is a ghost.

Colours are read on light and on dark; text takes its colour from the page (style.css). Times are
those of the branch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

from conf.stores import Branch
from dashboard.board import Snapshot
from dashboard.branches import MINUTE, branch_day
from dashboard.figures import DAYS_BEFORE, earlier
from dashboard.opening import axis_of, hours_of
from dashboard.words import local

VISITORS, ORDERS, GHOST = "#1098ad", "#e8590c", "#7b8a96"
MINUTES = 60
Options = dict[str, Any]


def hours_chart(snapshot: Snapshot, branch: Branch) -> Options | None:
    """Visitors and orders of the day shown by the hour, and the visitors of a day before.

    The axis has the opening hours; a gap where visitors are not known. None without an hour of
    both days.
    """
    zone, day = ZoneInfo(branch.timezone), branch_day(snapshot, branch).day
    clock = {hour: hour.astimezone(zone).replace(tzinfo=None) for hour in hours_of(branch, day)}
    rows = [h for h in snapshot.rows("store_hourly") if h.branch_id == branch.branch_id]
    mine = {row.hour: row for row in rows if row.hour in clock}
    days, then = _day_before(rows, branch, clock)
    busy = {h for found in (mine, then) for h, row in found.items() if row.visitors or row.orders}
    axis = axis_of(branch, day, busy) if mine or then else []
    if not axis:
        return None
    name = f"Visitors {day - timedelta(days=days):%a %d %b}"
    return _chart(
        [f"{clock[hour]:%H:%M}" for hour in axis],
        [mine[hour].visitors if hour in mine else None for hour in axis],
        [mine[hour].orders if hour in mine else None for hour in axis],
        ghost=_ghost(name, [then.get(hour) for hour in axis]) if then else None,
    )


def _day_before(
    rows: Sequence[Any], branch: Branch, clock: Mapping[datetime, datetime]
) -> tuple[int, dict[datetime, Any]]:
    """How many days before, and the row of that day for each hour of the day shown."""
    for days in DAYS_BEFORE:
        before = earlier(rows, days)
        keys = {hour: (branch.branch_id, local_hour) for hour, local_hour in clock.items()}
        if then := {hour: before[key] for hour, key in keys.items() if key in before}:
            return days, then
    return 0, {}


def _ghost(name: str, rows: Sequence[Any | None]) -> Options:
    """The bars of a day before: wide ones behind those of the day, on an axis of their own."""
    return {
        "name": name,
        "type": "bar",
        "data": [row.visitors if row else None for row in rows],
        "xAxisIndex": 1,
        "barMaxWidth": 44,
        "barCategoryGap": "8%",
        "z": 1,
        "itemStyle": {"color": GHOST, "opacity": 0.4},
    }


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
    ghost: Options | None = None,
) -> Options:
    size = 6 if kind == "line" else 9
    return {
        "animation": False,
        "color": [VISITORS, ORDERS],
        "grid": {"left": 8, "right": 8, "top": 34, "bottom": 4, "containLabel": True},
        "legend": {"top": 0, "left": 0, "itemWidth": 18},
        "tooltip": {"trigger": "axis", "confine": True},
        "xAxis": [
            {"type": "category", "data": times, "axisLabel": {"hideOverlap": True}},
            {"type": "category", "data": times, "show": False},
        ],
        "yAxis": {"type": "value", "minInterval": 1, "splitLine": {"lineStyle": {"opacity": 0.3}}},
        "series": [
            {"name": "Visitors", "type": "bar", "data": list(visitors), "barMaxWidth": 24},
            {
                "name": "Orders",
                "type": kind,
                "data": list(orders),
                "symbol": "circle",
                "symbolSize": size,
            },
            *([ghost] if ghost else []),
        ],
    }
