"""The figures of maintenance that ran beside streams, from its table and the logs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from streaming.lake.conflicts import CONFLICT

SUMMED = (
    *("files_before", "files_after", "manifests_before", "manifests_after"),
    *("compacted", "snapshots_forgotten", "files_removed"),
)


def maintenance(
    rows: Sequence[Mapping[str, Any]], states: Mapping[str, Any], logs: Iterable[Path]
) -> dict[str, Any]:
    """The figures of all runs, and `faults`.

    Args:
        rows: of quality.maintenance_runs.
        states: of the streams, as their application reports them before it ends.
        logs: of the streams and of maintenance.

    Returns:
        `runs`; files and manifests before and after, summed over each change of a table;
        `conflicts`, which were retried; `failed_batches` of the streams.
    """
    done = [row for row in rows if row["state"] == "done"]
    failed = {name: state["failed_batches"] for name, state in states.items()}
    figures = {
        "runs": len({row["run_id"] for row in rows}),
        **{name: sum(row[name] for row in done) for name in SUMMED},
        "conflicts": sum(
            log.read_text(encoding="utf-8", errors="replace").count(CONFLICT) for log in logs
        ),
        "failed_batches": max(failed.values(), default=0),
    }
    faults = [
        f"{row['table_name']} could not be maintained: {row['note']}"
        for row in rows
        if row["state"] not in {"done", "nothing to do"}
    ]
    if not figures["compacted"]:
        faults.append("maintenance has joined no files")
    if not states:
        faults.append("the streams have not reported their state")
    if figures["failed_batches"]:
        names = ", ".join(name for name, count in failed.items() if count)
        faults.append(f"{figures['failed_batches']} batches of {names} failed beside maintenance")
    return {**figures, "faults": faults}
