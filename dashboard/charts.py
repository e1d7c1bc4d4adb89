"""Options of the charts (ECharts): visitors are bars, orders are points.

Colours are read on light and on dark; text takes its colour from the page (style.css). Times are
those of the branch.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from dashboard.branches import MINUTE, BranchToday
from dashboard.queries import BranchMinute
from dashboard.words import local

VISITORS, ORDERS = "#1098ad", "#e8590c"
MINUTES = 60
Options = dict[str, Any]


def hours_chart(today: BranchToday) -> Options:
    """Visitors and orders of today by the hour; a gap where visitors are not known."""
    return _chart(
        [f"{hour.local_hour:%H:%M}" for hour in today.hours],
        [hour.visitors for hour in today.hours],
        [hour.orders for hour in today.hours],
    )


def minutes_chart(rows: Sequence[BranchMinute], now: datetime, zone: str) -> Options:
    """The last hour by the minute; the minute that runs is the last one."""
    last = now.replace(second=0, microsecond=0)
    minutes = [last - n * MINUTE for n in reversed(range(MINUTES))]
    by_minute = {row.minute: row for row in rows}
    return _chart(
        [local(minute, zone) for minute in minutes],
        [by_minute[m].entries if m in by_minute else 0 for m in minutes],
        [(by_minute[m].orders or None) if m in by_minute else None for m in minutes],
        kind="scatter",  # a line would jump between none and one
    )


def _chart(
    times: list[str],
    visitors: Sequence[int | None],
    orders: Sequence[int | None],
    *,
    kind: Literal["line", "scatter"] = "line",
) -> Options:
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


def is_quiet(rows: Sequence[BranchMinute], now: datetime, span: timedelta) -> bool:
    """Whether nobody came and nothing was sold for so long."""
    return not any(row.entries or row.orders for row in rows if now - row.minute <= span)
