"""`make verify-orders`: a check whose Spark application is killed in the middle."""

from __future__ import annotations

import json
import time
from typing import Any

from infra.local.process import wait_until
from infra.local.streams import stream_states
from quality.smoke_test import STREAMS
from simulator.plan import Plan
from verification.deployment import Deployment
from verification.processes import Child, kill_family
from verification.watch import number

HALF_SECONDS = 300.0
RECOVERY_SECONDS = 180.0
ARRIVAL_SECONDS = 300.0


def verify(deployment: Deployment, plan: Plan) -> dict[str, Any]:
    """Run the check in a deployment.

    Returns:
        The result in short, and the `report` of the check.

    Raises:
        StorelakeError: a program did not start or died by itself.
    """
    with (
        deployment.run_streams(*STREAMS) as first,
        deployment.run_gateway(),
        deployment.run("check", *_arguments(plan)) as check,
    ):
        killed_at_rows = _half_way(deployment, plan, first, check)
        deployment.step(f"{killed_at_rows} events are in Postgres: killing the Spark application")
        killed = time.monotonic()
        kill_family(first)
        with deployment.run("streams", "run", *STREAMS) as second:
            wait_for_commit(deployment, second)
            recovery = time.monotonic() - killed
            code = _finish(deployment, check, second)
    file = deployment.settings.var_dir / "check" / "report.json"
    if not file.is_file():
        check.require_alive()
    report = dict(json.loads(file.read_text(encoding="utf-8")))
    return {
        "ok": code == 0 and bool(report["ok"]),
        "sent": report["sent"],
        "missing": report["missing"],
        "duplicated": report["duplicated"],
        "latency_p50_s": report["latency_seconds"]["p50"],
        "latency_p95_s": report["latency_seconds"]["p95"],  # the outage included
        "recovery_s": round(recovery, 1),
        "killed_at_rows": killed_at_rows,
        "faults": report["faults"],
        "report": report,
    }


def _arguments(plan: Plan) -> list[str]:
    options = {name: value for name, value in vars(plan).items() if value is not None}
    options["patience"] = ARRIVAL_SECONDS
    return [
        "check",
        *(part for name, value in options.items() for part in (f"--{name}", str(value))),
    ]


def count_orders(deployment: Deployment) -> int:
    """Number of the events in Postgres."""
    return number(deployment.settings, "SELECT count(*) FROM orders_raw")


def _half_way(deployment: Deployment, plan: Plan, streams: Child, check: Child) -> int:
    """Wait until half of the events are in Postgres; returns their number."""
    wanted, rows = (plan.count or 0) // 2, 0
    sending = 60 * (plan.count or 0) / plan.rate if plan.rate else 0.0

    def half() -> bool:
        nonlocal rows
        rows = count_orders(deployment)
        deployment.step(f"{rows} events in Postgres, the streams are killed at {wanted}")
        if rows < wanted:
            check.require_alive()
        return rows >= wanted

    sentence = f"not {wanted} events are in Postgres"
    deployment.require(half, HALF_SECONDS + sending, sentence, alive=streams)
    return rows


def wait_for_commit(deployment: Deployment, second: Child) -> None:
    """Wait until the first row of a new application is visible."""
    query = "SELECT coalesce(max(seq), 0) FROM orders_raw"
    newest = number(deployment.settings, query)

    def new_row() -> bool:
        nonlocal newest
        now = number(deployment.settings, query)
        if not stream_states(deployment.settings):
            newest = now  # until the new one runs, a last commit of the killed one may appear
            return False
        return now > newest

    deployment.step("the Spark application starts again")
    deployment.require(
        new_row, RECOVERY_SECONDS, "no new row after the kill", every=0.1, alive=second
    )


def _finish(deployment: Deployment, check: Child, streams: Child) -> int:
    """Wait for the check, which has a deadline of its own; returns its exit code."""
    while not wait_until(lambda: check.poll() is not None, 2.0):
        streams.require_alive()
        rows = count_orders(deployment)
        deployment.step(f"{rows} events in Postgres, the check runs")
    return int(check.returncode)
