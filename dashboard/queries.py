"""Queries of the console to Postgres, by name: `sql/NAME.sql`, whose comment has grain and key.

Grain and key of the tables: docs/TABLES.md. All times are UTC, unless a name contains `local`. A
query may read `branch` (branch_id, timezone, `today`: the date shown) and the parameters below. A
day has the hours that begin on it by the clock of the branch. Days on either side of it, which no
branch of any time zone exceeds, bound a query once more: Postgres estimates the rows of a constant
alone, and would read a big table whole.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from conf.settings import Settings
from conf.stores import Stores
from dashboard.opening import counted_since
from streaming.registry import STREAMS

_BRANCH = """
    WITH branch AS (
        SELECT branch_id, timezone,
            coalesce(%(day)s::date, (now() AT TIME ZONE timezone)::date) AS today
        FROM jsonb_to_recordset(%(branches)s::jsonb) AS b (branch_id text, timezone text)
    )
"""
QUERIES = {
    file.stem: _BRANCH + file.read_text(encoding="utf-8")
    for file in sorted(Path(__file__).with_name("sql").glob("*.sql"))
}
EVERY = {
    "stuck_orders": 10.0,
    "latency": 4.0,
    "dead_letters": 4.0,
    "quality_results": 10.0,
    "people_inside": 4.0,
    "weekday_hours": 30.0,
    "units": 30.0,
    "queue_recent": 10.0,
    "oldest_visit": 60.0,
}
"""Seconds between two runs of a query; the others run for each snapshot."""
OF_A_DAY = ("store_hourly", "order_metrics", "units", "weekday_hours")
"""Queries that also answer for a day in the past."""
DAY_EVERY = 30.0
"""Seconds for which the answers of a day in the past are kept."""


def parameters(settings: Settings, stores: Stores, now: datetime) -> dict[str, Any]:
    """Parameters of the queries: all branches, entrances, cameras and queues of the store file."""
    cameras = [(branch, camera) for branch in stores.branches for camera in branch.cameras]
    queues = {
        (branch.branch_id, camera.camera_id, zone.zone_id)
        for branch, camera in cameras
        for layout in stores.layouts(camera)
        for zone in layout.zones
        if zone.kind == "queue"
    }
    entrances = [
        {
            "branch_id": branch.branch_id,
            "cameras": [c.camera_id for c in branch.cameras if stores.has_line(c, "entrance")],
            "since": counted_since(branch, now).isoformat(),
        }
        for branch in stores.branches
    ]
    lists = {
        "branches": [{"branch_id": b.branch_id, "timezone": b.timezone} for b in stores.branches],
        "cameras": [{"branch_id": b.branch_id, "camera_id": c.camera_id} for b, c in cameras],
        "queues": [{"branch_id": b, "camera_id": c, "zone_id": z} for b, c, z in sorted(queues)],
        "entrances": entrances,
    }
    return {
        **{name: json.dumps(rows) for name, rows in lists.items()},
        "stuck_after": settings.streams.status_stuck_after,
        "streams": [stream.name for stream in STREAMS],
    }
