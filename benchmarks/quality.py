"""What validation costs beside the streams: `python -m benchmarks.quality --seconds 300`.

Orders at `--rate` a minute through the gateway with every stream running, and `storelake quality
run --every` as a service of its own. CPU is that of the service, in cores, from the end of its
first run on: the import of Great Expectations and the look at all that is old are paid once.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Annotated, Any

import typer

from benchmarks import Out, fresh, notify, print_result
from simulator.send import send
from verification.deployment import Deployment
from verification.processes import cpu_seconds
from verification.watch import number

FIRST_RUN_SECONDS = 180.0
RUNS_SQL = "SELECT count(DISTINCT run_id) FROM quality_results"


def measure(deployment: Deployment, rate: float, seconds: float, every: int) -> dict[str, Any]:
    """One run on running services."""
    settings = deployment.settings
    with ExitStack() as stack:
        stack.enter_context(deployment.run_streams())
        stack.enter_context(deployment.run_gateway())
        send(settings, rate=rate, seconds=30)
        service = stack.enter_context(
            deployment.run("quality", "quality", "run", "--every", f"{every}s")
        )
        notify("the first validation")
        deployment.require(
            lambda: number(settings, RUNS_SQL) > 0, FIRST_RUN_SECONDS, "no validation ended"
        )
        before, begun = number(settings, RUNS_SQL), time.monotonic()
        cpu = sum(cpu_seconds(service.pid).values())
        notify("sending")
        send(settings, rate=rate, seconds=seconds)
        spent = sum(cpu_seconds(service.pid).values()) - cpu
        elapsed, done = time.monotonic() - begun, number(settings, RUNS_SQL) - before
    return {
        "rate_a_minute": rate,
        "every_seconds": every,
        "seconds": round(elapsed, 1),
        "runs": done,
        "cores": round(spent / elapsed, 3),
        "cpu_seconds_a_run": round(spent / done, 2) if done else None,
        "expectations": number(settings, "SELECT count(*) FROM v_quality_status"),
    }


def main(
    rate: Annotated[float, typer.Option(help="Order events a minute.")] = 1000,
    seconds: Annotated[float, typer.Option(help="How long it is measured.")] = 300,
    every: Annotated[int, typer.Option(help="Seconds between two validations.")] = 60,
    out: Out = None,
) -> None:
    """Measure, in a fresh deployment, and print the JSON."""
    with fresh() as deployment:
        result = measure(deployment, rate, seconds, every)
    print_result(result, out)


if __name__ == "__main__":
    typer.run(main)
