"""Hours that are not like the same hours of other days, without a threshold set by hand.

Baseline: a robust regression (Tukey's biweight, scale by the median absolute deviation:
`statsmodels.RLM`) on the hour of the day and the day of the week, both on the branch's clock. It is
fitted to the hours before the last day, which are then held against it. A robust fit is not moved
by what it is to find, needs no hour to be there, and may lack whole days, which STL may not.

Values are transformed so that chance alone makes the same spread everywhere: counts and shares by
their variance-stabilising roots (Anscombe 1948), means weighted by the root of their number. That
gives the scale a floor: an hour is never blamed for what a Poisson or a binomial draw does. Of all
deviations of a run those are named that survive Holm's correction at `FALSE_ALARMS`.
"""

# ruff: noqa: PLC0415 - statsmodels takes 0.4 s of CPU, and a young deployment has no history
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.stats import norm

from quality.context import AuditContext
from quality.facts import BRANCH_HOURS, DAY, UTC_TIME, floor
from quality.suite import FactSuite, Suite, null

FALSE_ALARMS = 1e-4
"""How often a run without any anomaly may name one, by the assumptions above."""
SAME_HOURS = 7
"""On so many earlier days that hour of the day must be known."""
LEAST_SPREAD = 0.05
"""Of single values around a mean, as a share of it: no till sells one thing only."""

Floats = npt.NDArray[np.float64]
ANOMALIES = {
    "branch_id": pa.string(),
    "hour": UTC_TIME,
    "found": pa.float64(),
    "usual": pa.float64(),
    "anomaly": pa.string(),
    "not_judged": pa.string(),
}

# Per branch and hour: what there was, and of how many it is a mean or a share.
SQL = {
    "orders": """
        SELECT branch_id, hour, sum(order_count)::float8 AS value, 1::float8 AS number
        FROM order_metrics WHERE hour >= %(start)s AND order_count > 0 GROUP BY 1, 2""",
    "order_value": """
        SELECT branch_id, hour, (total_revenue / order_count)::float8 AS value,
            order_count::float8 AS number
        FROM order_metrics JOIN store_hourly USING (branch_id, hour, currency)
        WHERE hour >= %(start)s AND order_count > 0""",
    "visitors": """
        SELECT branch_id, hour, visitors::float8 AS value, 1::float8 AS number
        FROM store_hourly WHERE hour >= %(start)s AND visitors IS NOT NULL""",
    "people": """
        SELECT branch_id, date_trunc('hour', minute, 'UTC') AS hour,
            avg(people_peak)::float8 AS value, count(*)::float8 AS number
        FROM footfall_minute WHERE minute >= %(start)s GROUP BY 1, 2""",
    "unseen": """
        SELECT branch_id, hour, least(1, 1 - camera_coverage) AS value, 60::float8 AS number
        FROM store_hourly h WHERE hour >= %(start)s AND camera_coverage IS NOT NULL
            -- before its first camera, a branch had nothing to miss
            AND hour >= (SELECT min(hour) FROM store_hourly f
                WHERE f.branch_id = h.branch_id AND f.camera_coverage > 0)""",
    "unknown_before": """
        SELECT branch_id, date_trunc('hour', changed_at, 'UTC') AS hour,
            avg((previous_status IS NULL)::int)::float8 AS value, count(*)::float8 AS number
        FROM order_status_history WHERE changed_at >= %(start)s GROUP BY 1, 2""",
}


@dataclass(frozen=True)
class Measure:
    """One figure of an hour.

    Attributes:
        name: of its query.
        table: that it is about, in Postgres.
        kind: `count`, `share` (0..1) or `mean` of a positive amount.
        finding: beginning of the message about an unusual hour.
        only_more: less than usual is no anomaly.
    """

    name: str
    table: str
    kind: str
    finding: str
    only_more: bool = False

    def whitened(self, value: Floats, number: Floats) -> tuple[Floats, Floats]:
        """Values of equal variance, and their weights."""
        if self.kind == "count":
            return 2 * np.sqrt(value + 3 / 8), np.ones_like(value)
        if self.kind == "share":
            return 2 * np.arcsin(np.sqrt(np.clip(value, 0, 1))), np.sqrt(number)
        return np.log(np.maximum(value, 1e-9) + (self.name == "people")), np.sqrt(number)

    def back(self, whitened: float) -> float:
        """The value again."""
        if self.kind == "count":
            return float(max(0.0, (whitened / 2) ** 2 - 3 / 8))
        if self.kind == "share":
            return float(np.sin(np.clip(whitened / 2, 0, np.pi / 2)) ** 2)
        return float(np.exp(whitened)) - (self.name == "people")

    @property
    def least_scale(self) -> float:
        """What chance alone makes of a whitened, weighted value."""
        return LEAST_SPREAD if self.kind == "mean" else 1.0


MEASURES = (
    Measure("orders", "order_metrics", "count", "An hour has far more or far fewer orders"),
    Measure("order_value", "order_metrics", "mean", "Orders of an hour are worth far more or less"),
    Measure("visitors", "store_hourly", "count", "An hour has far more or far fewer visitors"),
    Measure("people", "footfall_minute", "mean", "Cameras see far more or far fewer people"),
    Measure(
        "unseen",
        "store_hourly",
        "share",
        "Far more camera minutes of an hour are missing",
        only_more=True,
    ),
    Measure(
        "unknown_before",
        "order_status_history",
        "share",
        "The previous status is unknown for far more changes of an hour",
        only_more=True,
    ),
)


def anomaly_suites() -> list[Suite]:
    """One suite for each figure."""
    return [_suite(measure) for measure in MEASURES]


def _suite(measure: Measure) -> FactSuite:
    meaning = f"{measure.finding} than that hour usually has at that branch."
    return FactSuite(
        f"postgres.{measure.table}",
        f"anomaly_{measure.name}",
        ANOMALIES,
        lambda context: find_anomalies(context, measure),
        (
            null(
                "usual",
                meaning,
                "anomaly",
                f"{measure.name.replace('_', ' ')} are as in that hour of other days",
                "warning",
            ),
        ),
        BRANCH_HOURS,
    )


def find_anomalies(context: AuditContext, measure: Measure) -> Iterator[dict[str, Any]]:
    """Per branch and complete hour of the last day: whether it is off, or why it is not validated.

    An hour is complete when a later one has begun somewhere, so a deployment at rest has no short
    hour.
    """
    start = floor(context.now - context.settings.quality.history, DAY)
    found = context.query(SQL[measure.name], {"start": start})
    rows = [row for row in found if row["value"] is not None and np.isfinite(row["value"])]
    newest = max((row["hour"] for row in rows), default=start)
    series: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["hour"] < newest:
            series[row["branch_id"]].append(row)
    validated = [
        one
        for branch in context.stores.branches
        for one in _find_in_branch(
            measure, series[branch.branch_id], newest - DAY, ZoneInfo(branch.timezone)
        )
    ]
    return _named(validated)


def _find_in_branch(
    measure: Measure, rows: Sequence[Mapping[str, Any]], since: datetime, zone: ZoneInfo
) -> Iterator[dict[str, Any]]:
    """The hours of the last day with `z`, their distance from the baseline in its own scale."""
    local = [row["hour"].astimezone(zone) for row in rows]
    new = np.array([row["hour"] >= since for row in rows], dtype=bool)
    value, number = (
        np.array([row[name] for row in rows], dtype=np.float64) for name in ("value", "number")
    )
    days = {
        h: {at.date() for at, n in zip(local, new, strict=True) if at.hour == h and not n}
        for h in range(24)
    }
    known = np.array([len(days[at.hour]) >= SAME_HOURS for at in local], dtype=bool)
    base = {"branch_id": rows[0]["branch_id"]} if rows else {}
    for index in np.flatnonzero(new & ~known).tolist():
        seen = len(days[local[index].hour])
        reason = f"{seen} of {SAME_HOURS} earlier days known"
        yield {**base, "hour": rows[index]["hour"], "found": value[index], "not_judged": reason}
    if not (new & known).any():
        return
    import statsmodels.api as sm

    whitened, weight = measure.whitened(value, number)
    design = _design(local)
    fit = ~new & known
    columns = design[fit].any(axis=0)
    model = sm.RLM(
        whitened[fit] * weight[fit],
        design[fit][:, columns] * weight[fit, None],
        M=sm.robust.norms.TukeyBiweight(),
    )
    found = model.fit()
    scale = max(float(found.scale), measure.least_scale)
    expected = design[:, columns] @ found.params
    for index in np.flatnonzero(new & known).tolist():
        distance = (whitened[index] - expected[index]) * weight[index]
        yield {
            **base,
            "hour": rows[index]["hour"],
            "found": float(value[index]),
            "usual": measure.back(float(expected[index])),
            "z": max(0.0, distance / scale) if measure.only_more else distance / scale,
        }


def _design(local: Sequence[datetime]) -> Floats:
    """One column per hour of the day, and one per day of the week but one."""
    hours = np.array([at.hour for at in local])[:, None] == np.arange(24)
    days = np.array([at.weekday() for at in local])[:, None] == np.arange(1, 7)
    return np.hstack([hours, days]).astype(np.float64)


def _named(validated: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The facts; of the distances only those that chance does not explain have a name."""
    distances = [one["z"] for one in validated if "z" in one]
    off = iter(_not_by_chance(distances) if distances else ())
    for one in validated:
        fact = {name: value for name, value in one.items() if name != "z"}
        if "z" in one and next(off):
            fact["anomaly"] = f"{one['found']:.4g}, usually {one['usual']:.4g}"
        yield fact


def _not_by_chance(distances: Sequence[float]) -> list[bool]:
    """Which distances chance does not explain, with `FALSE_ALARMS` for all of them together."""
    from statsmodels.stats.multitest import multipletests

    chances = 2 * norm.sf(np.abs(distances))
    return list(multipletests(chances, alpha=FALSE_ALARMS, method="holm")[0])
