"""What the proof prints and writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from quality.reconciliation import Reconciliation
from verification.faults.fault import Result


def report(
    results: Sequence[Result], found: Reconciliation, seed: int, seconds: float
) -> dict[str, Any]:
    """The content of the JSON report."""
    return {
        "ok": bool(results) and all(one.ok for one in results) and found.ok,
        "seed": seed,
        "seconds": round(seconds, 1),
        "faults": [one.as_dict() for one in results],
        "ids": dict(found.numbers),
        "differences": found.faults,
    }


def tables(content: Mapping[str, Any]) -> list[Table]:
    """The faults, and the ids that went in and came out."""
    faults = Table("fault", "fired", "recovery", "broken", title=_title("faults", content["ok"]))
    for one in content["faults"]:
        recovery = one["recovery_seconds"]
        faults.add_row(
            Text(one["name"], "green" if one["ok"] else "bold red"),
            Text(one["observed"] or "no"),
            "-" if recovery is None else f"{recovery:.1f} s",
            Text("; ".join(one["broken"]) or "-"),
        )
    ids = Table(title=_title("ids in = ids out", not content["differences"]), show_header=False)
    for name, number in content["ids"].items():
        ids.add_row(name.replace("_", " "), f"{number:,}")
    return [faults, ids]


def _title(what: str, ok: bool) -> Text:
    return Text.assemble(f"{what}: ", ("ok", "bold green") if ok else ("not ok", "bold red"))
