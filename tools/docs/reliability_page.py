"""docs/RELIABILITY.md: the faults as they are declared, and what the last run saw of them."""

from __future__ import annotations

import json
from pathlib import Path

from tools.docs.markdown import render
from verification.faults.plan import Extent, matrix
from verification.faults.run import summary

RESULT = "verification/faults/last_run.json"


def reliability_page(root: Path) -> str:
    """The page without the notice that it is generated."""
    file = root / RESULT
    last = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    seen = {name: cells for name, _, *cells in summary(last["results"] if last else [])}
    faults = {fault.name: fault for fault in matrix(Extent())}.values()
    rows = [
        (f"`{one.name}`", one.title, one.must, *seen.get(one.name, ("not run", "")))
        for one in faults
    ]
    return render("RELIABILITY", rows=rows, last=last, number="{:,}".format)
