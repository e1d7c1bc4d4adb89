"""What cameras measured of the simulated shop, held against what happened there.

A dwell error is the mean of |measured - true| seconds over true visits that were found: each is
paired with at most one measured visit of its zone, so that together they overlap most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from rich.text import Text
from scipy.optimize import linear_sum_assignment

from infra.terminal_table import TextTable
from simulator.shop import Truth, sum_up

MAX_COUNT_ERROR = 0.03  # of the true number
MAX_DWELL_ERROR = 1.5  # seconds, in every zone
MAX_GROUP_ERROR = 0.05  # of the true number, one at least
MAX_PASSING_ERROR = 0.1  # the same, of passers-by: shoppers before them hide them
MAX_CONVERSION_ERROR = 0.02  # points of a share
Span = tuple[float, float]


@dataclass(frozen=True)
class Measured:
    """What was found of a day.

    Attributes:
        entries, exits: over entrances.
        groups: of people who entered together.
        passers_by: over passing lines, without those who entered.
        conversion: orders / entries; None without entries.
        visits: "camera/zone" -> spans, in seconds of the day.
    """

    entries: int
    exits: int
    groups: int
    passers_by: int
    conversion: float | None
    visits: Mapping[str, Sequence[Span]]


def pair(true: Sequence[Span], measured: Sequence[Span]) -> list[tuple[Span, Span]]:
    """Visits that belong together: those pairs of which the overlap is the greatest in sum."""
    if not true or not measured:
        return []
    a, b = np.array(true), np.array(measured)
    shared = np.minimum(a[:, None, 1], b[None, :, 1]) - np.maximum(a[:, None, 0], b[None, :, 0])
    rows, columns = linear_sum_assignment(-np.clip(shared, 0, None))
    return [(true[i], measured[j]) for i, j in zip(rows, columns, strict=True) if shared[i, j] > 0]


def compare_zone(true: Sequence[Span], measured: Sequence[Span]) -> dict[str, Any]:
    """Visits and dwell of one zone."""
    pairs = pair(true, measured)
    errors = [abs((m[1] - m[0]) - (t[1] - t[0])) for t, m in pairs]
    return {
        "visits": len(measured),
        "true_visits": len(true),
        "found": len(pairs),
        "mean_s": _mean([end - start for start, end in measured], 2),
        "true_mean_s": _mean([end - start for start, end in true], 2),
        "dwell_error_s": _mean(errors, 3),
    }


def _mean(seconds: Sequence[float], digits: int) -> float | None:
    return round(fmean(seconds), digits) if seconds else None


def compare(truths: Sequence[Truth], measured: Measured) -> dict[str, Any]:
    """Measured beside true, and whether each is within its bound."""
    total = sum_up(truths)
    zones = {}
    for key in total["zones"]:
        true = [
            (v.enters, v.leaves)
            for t in truths
            for v in t.visits
            if f"{v.camera_id}/{v.zone_id}" == key
        ]
        zones[key] = compare_zone(true, measured.visits.get(key, []))
    found = sum(zone["found"] for zone in zones.values())
    dwell = sum((z["dwell_error_s"] or 0) * z["found"] for z in zones.values()) / max(1, found)
    conversion = measured.conversion or 0.0
    return {
        "entries": measured.entries,
        "true_entries": total["entries"],
        "exits": measured.exits,
        "true_exits": total["exits"],
        "groups": measured.groups,
        "true_groups": total["groups"],
        "passers_by": measured.passers_by,
        "true_passers_by": total["passers_by"],
        "dwell_error_s": round(dwell, 3),
        "conversion": round(conversion, 4),
        "true_conversion": total["conversion"],
        "zones": zones,
        "within": {
            "entries": _near(measured.entries, total["entries"]),
            "exits": _near(measured.exits, total["exits"]),
            "groups": _nearly(measured.groups, total["groups"], MAX_GROUP_ERROR),
            "passers_by": _nearly(measured.passers_by, total["passers_by"], MAX_PASSING_ERROR),
            "dwell": found > 0
            and all(z["dwell_error_s"] < MAX_DWELL_ERROR for z in zones.values() if z["found"]),
            "conversion": abs(conversion - (total["conversion"] or 0.0)) <= MAX_CONVERSION_ERROR,
        },
    }


def _near(measured: int, true: int) -> bool:
    return abs(measured - true) <= MAX_COUNT_ERROR * true


def _nearly(measured: int, true: int, error: float) -> bool:
    return abs(measured - true) <= max(1, error * true)


def beside_truth(result: Mapping[str, Any]) -> TextTable:
    """What cameras count beside what happened, and the verdict in the title."""
    verdict = Text("ok", "bold green") if result["ok"] else Text("not ok", "bold red")
    rows = [
        (name, str(result[name]), str(result[f"true_{name}"]))
        for name in ("entries", "exits", "groups", "passers_by", "conversion")
    ]
    for key, zone in result["zones"].items():
        rows.append((f"visits of {key}", str(zone["visits"]), str(zone["true_visits"])))
        rows.append(("  mean dwell, s", str(zone["mean_s"]), str(zone["true_mean_s"])))
    rows.append(("dwell error, s", str(result["dwell_error_s"]), ""))
    rows.append(("latency p95, s", str(result["latency_p95_s"]), ""))
    rows.append(("frames a second", str(result["fps"]), f"{result['fps_bare_model']} without"))
    title = Text.assemble("cameras: ", verdict)
    return TextTable(("what", "measured", "true"), rows, prose=("what", "true"), title=title)
