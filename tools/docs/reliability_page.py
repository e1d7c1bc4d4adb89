"""docs/RELIABILITY.md: the faults as they are declared, and what the last run saw of them."""

from __future__ import annotations

import json
from pathlib import Path

from tools.docs.markdown import render
from verification.faults.fault import Fault
from verification.faults.plan import Extent, matrix
from verification.faults.run import counted_title, summary

RESULT = "verification/faults/last_run.json"


def reliability_page(root: Path) -> str:
    """The page without the notice that it is generated."""
    file = root / RESULT
    last = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    seen = {name: cells for name, _, *cells in summary(last["results"] if last else [])}
    variants: dict[str, list[Fault]] = {}
    for fault in matrix(Extent()):
        variants.setdefault(fault.name, []).append(fault)
    rows = [
        (
            f"`{name}`",
            counted_title(some[0].title, len(some)),
            some[0].must,
            *seen.get(name, ("not run", "")),
        )
        for name, some in variants.items()
    ]
    return render("RELIABILITY", rows=rows, last=last, number="{:,}".format)
