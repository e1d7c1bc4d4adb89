"""What maintenance beside streams came to, by what both leave behind. Opens nothing but logs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from streaming.lake.iceberg.commits import CONFLICT

TURNED = ("files_before", "files_after", "manifests_before", "manifests_after")
COUNTED = ("compacted", "snapshots_forgotten", "files_removed")


def maintenance(
    rows: Sequence[Mapping[str, Any]], states: Mapping[str, Any], logs: Iterable[Path]
) -> dict[str, Any]:
    """The figures of all runs, and `faults`.

    Args:
        rows: of quality.maintenance_runs.
        states: of the streams, as their application says; before it ends.
        logs: of the streams and of maintenance.

    Returns:
        `runs`; files and manifests before and after, summed over each time that something was done
        in a table; `conflicts`, which were tried again; `failed_batches` of the streams.
    """
    done = [row for row in rows if row["state"] == "done"]
    figures = {
        "runs": len({row["run_id"] for row in rows}),
        **{name: sum(row[name] for row in done) for name in (*TURNED, *COUNTED)},
        "conflicts": sum(conflicts(log) for log in logs),
        "failed_batches": _failed(states),
    }
    faults = [
        f"{row['table_name']} could not be maintained: {row['note']}"
        for row in rows
        if row["state"] not in {"done", "nothing to do"}
    ]
    if not figures["compacted"]:
        faults.append("maintenance has joined no files")
    if not states:
        faults.append("the streams have not said how they are")
    if figures["failed_batches"]:
        names = ", ".join(name for name, state in states.items() if state["failed_batches"])
        faults.append(f"{figures['failed_batches']} batches of {names} failed beside maintenance")
    return {**figures, "faults": faults}


def conflicts(log: Path) -> int:
    """How often a commit met another one and began anew."""
    return log.read_text(encoding="utf-8", errors="replace").count(CONFLICT)


def _failed(states: Mapping[str, Any]) -> int:
    return max((state["failed_batches"] for state in states.values()), default=0)
