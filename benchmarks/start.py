"""Start and recovery of the Spark application: `python -m benchmarks.start`.

A start is the time from `storelake run` until all streams are ready; the first one may make the
tables, and is reported apart. A recovery is the time from SIGKILL of the driver, its JVM and its
workers, while orders come in, through a new start to the next order in Postgres. CPU seconds are
those of the application until then, by process.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from threading import Event, Thread
from typing import Annotated, Any

import typer

from benchmarks import Out, notify, print_result
from conf.settings import load_settings
from infra import local
from simulator.send import send
from verification.deployment import Deployment
from verification.orders import count_orders, wait_for_commit
from verification.processes import Child, cpu_seconds, kill_family

RATE = 600.0
"""Orders a minute."""


def start(deployment: Deployment) -> dict[str, Any]:
    """Start all streams, and stop them again."""
    began = time.monotonic()
    with deployment.run_streams() as streams:
        return _until_now(began, streams)


def recover(deployment: Deployment) -> dict[str, Any]:
    """Kill the application while orders come in, and start it again."""
    with _orders(deployment), deployment.run_streams() as first:
        deployment.require(lambda: count_orders(deployment) > 0, 60, "no order is in Postgres")
        began = time.monotonic()
        kill_family(first)
        with deployment.run("streams", "run") as second:
            wait_for_commit(deployment, second)
            return _until_now(began, second)


@contextmanager
def _orders(deployment: Deployment) -> Iterator[None]:
    """Orders that come in during the block."""
    over = Event()
    options = {"rate": RATE, "via": "kafka", "stop": over}
    sender = Thread(target=send, args=(deployment.settings,), kwargs=options)
    sender.start()
    try:
        yield
    finally:
        over.set()
        sender.join()


def _until_now(began: float, application: Child) -> dict[str, Any]:
    seconds, cpu = time.monotonic() - began, cpu_seconds(application.pid)
    return {"seconds": round(seconds, 1), "cpu": {k: round(s, 1) for k, s in cpu.items()}}


def main(*, starts: Annotated[int, typer.Option(min=1)] = 5, out: Out = None) -> None:
    """Measure on the services of the settings, and print the JSON."""
    with local.running(load_settings(), notify) as settings:
        deployment = Deployment(settings, step=notify)
        first = start(deployment)
        warm = [start(deployment) for _ in range(starts)]
        recovery = recover(deployment)
    seconds = median(one["seconds"] for one in warm)
    print_result({"warm_s": seconds, "first": first, "warm": warm, "recovery": recovery}, out)


if __name__ == "__main__":
    typer.run(main)
