"""Options of the charts (ECharts): visitors are bars, orders a line with points.

Colours are read on light and on dark; text takes its colour from the page (style.css). Times are
those of the branch.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

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
        [by_minute[m].orders if m in by_minute else 0 for m in minutes],
    )


def _chart(times: list[str], visitors: list[int | None], orders: list[int]) -> Options:
    return {
        "animation": False,
        "color": [VISITORS, ORDERS],
        "grid": {"left": 8, "right": 8, "top": 34, "bottom": 4, "containLabel": True},
        "legend": {"top": 0, "left": 0, "itemWidth": 18},
        "tooltip": {"trigger": "axis", "confine": True},
        "xAxis": {"type": "category", "data": times, "axisLabel": {"hideOverlap": True}},
        "yAxis": {"type": "value", "minInterval": 1, "splitLine": {"lineStyle": {"opacity": 0.3}}},
        "series": [
            {"name": "Visitors", "type": "bar", "data": visitors, "barMaxWidth": 28},
            {"name": "Orders", "type": "line", "data": orders, "symbol": "circle", "symbolSize": 5},
        ],
    }


def is_quiet(rows: Sequence[BranchMinute], now: datetime, span: timedelta) -> bool:
    """Whether nobody came and nothing was sold for so long."""
    return not any(row.entries or row.orders for row in rows if now - row.minute <= span)
