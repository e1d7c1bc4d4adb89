"""Queries of the console to Postgres, by name: `sql/NAME.sql`, whose comment has grain and key.

Grain and key of the tables: docs/TABLES.md. All times are UTC, unless a name contains `local`. A
query may read `branch` (branch_id, timezone, its date today) and the parameters of
`dashboard.board`. A day has the hours that begin on it by the clock of the branch.
"""

from __future__ import annotations

from pathlib import Path

_BRANCH = """
    WITH branch AS (
        SELECT branch_id, timezone, (now() AT TIME ZONE timezone)::date AS today
        FROM jsonb_to_recordset(%(branches)s::jsonb) AS b (branch_id text, timezone text)
    )
"""
QUERIES = {
    file.stem: _BRANCH + file.read_text(encoding="utf-8")
    for file in sorted(Path(__file__).with_name("sql").glob("*.sql"))
}
EVERY = {"stuck_orders": 10.0, "latency": 4.0, "dead_letters": 4.0, "quality_results": 10.0}
"""Seconds between two runs of a query; the others run for each snapshot."""
