"""A check in a house of its own, whose Spark application is killed in the middle.

Everything is fresh: a folder in <var>/verify and free ports, so that nothing else is disturbed.
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import psycopg

from conf.settings import Settings
from infra.local.process import wait_until
from infra.local.readiness import stream_states
from quality.smoke_test import STREAMS
from simulator.plan import Plan
from verification import processes
from verification.deployment import Tell, fresh_house

HALF_SECONDS = 300.0
RECOVERY_SECONDS = 180.0
ARRIVAL_SECONDS = 300.0


@dataclass(frozen=True)
class Seen:
    """What orders_raw shows to another client of Postgres."""

    settings: Settings

    def newest(self) -> int:
        """The number of the newest row; rows get rising ones."""
        return self._number("SELECT coalesce(max(seq), 0) FROM orders_raw")

    def count(self) -> int:
        """How many rows there are."""
        return self._number("SELECT count(*) FROM orders_raw")

    def _number(self, query: str) -> int:
        with psycopg.connect(self.settings.postgres.dsn) as connection:
            row = connection.execute(query.encode()).fetchone()
        return int(row[0]) if row else 0


def verify(base: Settings, plan: Plan, tell: Tell) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run the whole proof; nothing goes on afterwards, however it ends.

    Args:
        base: of the operator; only its `var_dir` is used.
        plan: of the check.
        tell: hears what goes on.

    Returns:
        The result in short, and the report of the check. The data of a proof that failed stays in
        <var>/verify; logs always do.

    Raises:
        StorelakeError: something did not come up or died by itself.
    """
    with fresh_house(base, "verify-orders", tell) as house, ExitStack() as stack:
        result, report = _prove(stack, house.settings, house.environment, plan, tell)
        house.keep = not result["ok"]
    return result, report


def _prove(
    stack: ExitStack, settings: Settings, environment: dict[str, str], plan: Plan, tell: Tell
) -> tuple[dict[str, Any], dict[str, Any]]:
    started = time.monotonic()
    first = processes.start_streams(stack, settings, tell, STREAMS, environment)
    processes.start_gateway(stack, settings, environment)
    checking = stack.enter_context(
        processes.process("check", _arguments(plan), settings, environment)
    )
    seen = Seen(settings)
    killed_at_rows = _half_way(settings, seen, plan, (first, checking), tell)
    tell(f"{killed_at_rows} events are in Postgres: killing the Spark application")
    killed = time.monotonic()
    processes.kill(first)
    second = stack.enter_context(
        processes.process("streams", ["run", *STREAMS], settings, environment)
    )
    recovery = _recovery(settings, seen, second, tell) - killed
    code = _finish(settings, seen, checking, second, tell)
    report = _report(settings, checking)
    result = {
        "ok": code == 0 and bool(report["ok"]),
        "sent": report["sent"],
        "missing": report["missing"],
        "duplicated": report["duplicated"],
        "latency_p50_s": report["latency_seconds"]["p50"],
        "latency_p95_s": report["latency_seconds"]["p95"],  # the outage included
        "recovery_s": round(recovery, 1),
        "killed_at_rows": killed_at_rows,
        "seconds": round(time.monotonic() - started, 1),
    }
    return result, report


def _arguments(plan: Plan) -> list[str]:
    options = {
        "count": plan.count,
        "rate": plan.rate,
        "poison": plan.poison,
        "late": plan.late,
        "duplicates": plan.duplicates,
        "seed": plan.seed,
        "source": plan.source,
        "patience": ARRIVAL_SECONDS,
    }
    pairs = [(f"--{name}", str(value)) for name, value in options.items() if value is not None]
    return ["check", *(part for pair in pairs for part in pair)]


def _half_way(
    settings: Settings,
    seen: Seen,
    plan: Plan,
    children: tuple[processes.Child, processes.Child],
    tell: Tell,
) -> int:
    """Wait until half of the events are in Postgres; returns how many that were."""
    streams, checking = children
    wanted, rows = (plan.count or 0) // 2, 0

    def half() -> bool:
        nonlocal rows
        processes.require_alive(streams, "streams", settings)
        rows = seen.count()
        tell(f"{rows} events in Postgres, the streams are killed at {wanted}")
        if rows < wanted:
            processes.require_alive(checking, "check", settings)
        return rows >= wanted

    if not wait_until(half, HALF_SECONDS + _sending_seconds(plan), every=1.0):
        raise processes.ProcessError(
            f"only {rows} events are in Postgres, not {wanted}; see {settings.var_dir}/logs"
        )
    return rows


def _sending_seconds(plan: Plan) -> float:
    return 60 * (plan.count or 0) / plan.rate if plan.rate else 0.0


def _recovery(settings: Settings, seen: Seen, second: processes.Child, tell: Tell) -> float:
    """The moment (monotonic) at which the first row of the new application is visible."""
    newest = seen.newest()

    def row_of_the_new_one() -> bool:
        nonlocal newest
        processes.require_alive(second, "streams", settings)
        now = seen.newest()
        if not stream_states(settings):
            newest = now  # until the new one runs, a last commit of the killed one may appear
            return False
        return now > newest

    tell("the Spark application starts again")
    if not wait_until(row_of_the_new_one, RECOVERY_SECONDS, every=0.1):
        raise processes.ProcessError(
            f"no new row {RECOVERY_SECONDS:.0f} s after the kill; see {settings.var_dir}/logs"
        )
    return time.monotonic()


def _finish(
    settings: Settings,
    seen: Seen,
    checking: processes.Child,
    second: processes.Child,
    tell: Tell,
) -> int:
    """Wait for the check, which has a deadline of its own; returns its exit code."""
    while checking.poll() is None:
        processes.require_alive(second, "streams", settings)
        tell(f"{seen.count()} events in Postgres, the check goes on")
        wait_until(lambda: checking.poll() is not None, 2.0)
    return int(checking.returncode)


def _report(settings: Settings, checking: processes.Child) -> dict[str, Any]:
    path = settings.var_dir / "check" / "report.json"
    if not path.is_file():
        processes.require_alive(checking, "check", settings)
    return dict(json.loads(path.read_text(encoding="utf-8")))
