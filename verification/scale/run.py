"""`make verify-scale`: the same backlogs on a standalone cluster, with one executor and with two.

A master and two workers of one core run on loopback; an application takes one executor or both.
Orders wait in Kafka, then frames; the streams drain them. The ids that went in must come out once,
the sums must be right, and every executor must have run its share of the tasks. CPU seconds by kind
of process, counted after a warm-up, give what one core of it carries.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from conf.settings import Settings
from infra.local.streams import stream_states
from tests.support.cluster_local import Cluster, running_cluster
from verification.deployment import Deployment, Step, fresh_deployment
from verification.scale.backlogs import BATCHES, Backlog, Send, send_frames, send_orders
from verification.scale.cluster import cpu, idle, tasks_by_executor, variables

EXECUTORS = (1, 2)
DRAIN_SECONDS = 300.0
SPARE_ROWS = 16
"""More in a batch than its share: a limit is split among partitions and rounded."""


def verify(base: Settings, step: Step, *, orders: int, frames: int) -> dict[str, Any]:
    """Drain both backlogs with each number of executors, each time in a fresh deployment.

    Args:
        base: of the operator; see `fresh_deployment`.
        step: receives the present step.
        orders: order events.
        frames: frames of 8 people, rounded up to whole visits.

    Returns:
        `runs`, `one_core_carries` (events a second), `faults` and `ok`.

    Raises:
        StorelakeError: a program did not start, or died, or the backlog was not drained in time.
    """
    started, runs, faults = time.monotonic(), list[dict[str, Any]](), list[str]()
    sends: dict[str, Send] = {
        "orders": partial(send_orders, count=orders),
        "frames": partial(send_frames, count=frames),
    }
    for executors in EXECUTORS:
        with fresh_deployment(base, "verify-scale", step) as deployment:
            for name, send in sends.items():
                deployment.step(f"{name} to Kafka, for executors: {executors}")
                run, found = _drain(deployment, send(deployment.settings), executors)
                runs.append({"backlog": name, **run})
                faults += [f"{name}, executors: {executors}: {fault}" for fault in found]
            deployment.keep = bool(faults)
    return {
        "ok": not faults,
        "runs": runs,
        "one_core_carries": {run["backlog"]: carries(run) for run in runs},  # the last one's
        "seconds": round(time.monotonic() - started, 1),
        "faults": faults,
    }


def carries(run: Mapping[str, Any]) -> dict[str, int]:
    """Events a second that one core of each part carries."""
    spent = run["cpu_seconds_a_million"]
    parts = {part.split("_")[0] for part in spent}
    return {
        part: round(1e6 / sum(s for kind, s in spent.items() if kind.startswith(part)))
        for part in sorted(parts)
    }


def _drain(
    deployment: Deployment, backlog: Backlog, executors: int
) -> tuple[dict[str, Any], list[str]]:
    """Drain a backlog and check it; returns the figures, and what does not hold."""
    with tempfile.TemporaryDirectory(prefix="storelake-scale-") as scratch:
        folder = Path(scratch)
        (folder / "events").mkdir()
        with running_cluster(folder) as cluster:
            figures = _measure(deployment, cluster, backlog, executors)
        tasks = tasks_by_executor(folder / "events")
    deployment.step("counting")
    found = backlog.check()
    run = {"executors": executors, **figures, "tasks": tasks, **found.numbers}
    return run, [*found.faults, *idle(tasks, executors)]


def _measure(
    deployment: Deployment, cluster: Cluster, backlog: Backlog, executors: int
) -> dict[str, Any]:
    """Figures from the end of the warm-up to the end of the last batch."""
    settings, rows = deployment.settings, backlog.messages // BATCHES + SPARE_ROWS

    def finished() -> int:
        states = stream_states(settings)
        return min((states[name]["finished_rows"] for name in states), default=0)

    with deployment.run_streams(*backlog.streams, **variables(cluster, executors, rows)) as driver:
        wait = partial(deployment.require, every=0.1, alive=driver)
        wait(lambda: finished() >= backlog.warm_up, DRAIN_SECONDS, "not warm")
        first, began, before = finished(), time.monotonic(), cpu(settings, driver.pid, cluster)
        backlog.send_rest()
        wait(lambda: finished() >= backlog.messages, DRAIN_SECONDS, "not drained")
        seconds, after = time.monotonic() - began, cpu(settings, driver.pid, cluster)
    events = max(backlog.messages - first, 1)
    return {
        "messages": backlog.messages,
        "measured": events,
        "seconds": round(seconds, 1),
        "events_a_second": round(events / seconds),
        "cpu_seconds_a_million": {
            kind: round(1e6 * (after[kind] - before[kind]) / events, 1) for kind in after
        },
    }
