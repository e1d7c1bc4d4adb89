"""The soak: everything runs, orders and frames flow, and faults come at random for hours."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from conf.errors import StorelakeError
from quality.reconciliation import Difference, Reconciliation
from verification.demo.report import measured_on
from verification.deployment import Deployment, Step
from verification.faults.deployment import SupervisedDeployment, now, supervised
from verification.faults.fault import Fault, Result, prove
from verification.faults.oracle import balance
from verification.faults.plan import chosen
from verification.faults.run import INSIDE, clients_logged, warm_up
from verification.processes import ProcessError
from verification.soak.flat import LEAST_SAMPLES, WARM_UP_SHARE, sentence, trends
from verification.soak.report import write_page
from verification.soak.samples import SAMPLE_SECONDS, Samples

FAULTS = (
    *("kill-gateway", "kill-driver", "kill-jvm", "kill-worker", "kill-supervisor"),
    *("kill-kafka", "kill-postgres", "hang-kafka", "hang-postgres", "silence-kafka"),
)
PAUSE_SECONDS = (60.0, 240.0)
BESIDE = ("quality", "console")
LEAST_HOURS = 3 * LEAST_SAMPLES * SAMPLE_SECONDS / (1 - WARM_UP_SHARE) / 3600


def verify(
    deployment: Deployment, *, hours: float, rate: float, seed: int, page: Path, show: Step
) -> dict[str, Any]:
    """Run the soak; every program is stopped at its end.

    Args:
        deployment: fresh; its supervisor is started.
        hours: how long load flows and faults come.
        rate: order events a minute.
        seed: of the orders, of the faults and of their moments.
        page: file of the report that has the plots.
        show: takes one line for each fault that is over.

    Returns:
        The report: `ok` when no id is lost or doubled, every fault fired and was recovered from,
        and everything in `flat.BOUNDS` stayed flat.

    Raises:
        StorelakeError: the time is too short to compare, or programs do not come up at the start.
    """
    if hours < LEAST_HOURS:
        raise StorelakeError(f"A soak of less than {60 * LEAST_HOURS:.0f} minutes shows no trend.")
    begun, results = now(), list[tuple[datetime, Result]]()
    with (
        clients_logged(deployment.settings),
        supervised(deployment, rate=rate, seed=seed) as made,
    ):
        samples = Samples(made)
        try:
            made.storelake("start", *BESIDE)
            warm_up(made)
            samples.start()
            for fault in _at_random(made, hours, random.Random(seed)):  # noqa: S311 - repeatable
                results.append((now(), Result(fault.name, fault.title)))
                with INSIDE[fault.inside](made):
                    prove(fault, made, results[-1][1])
                show(_line(results[-1][1], begun))
                made.load.require_going()
            made.step("waiting until everything has arrived, then comparing")
            made.load.finish()
            samples.finish()
            found = balance(made.load)
        except ProcessError as error:  # the report has what was seen until here
            found = Reconciliation({}, (Difference("unexpected", str(error)),))
    result = _report(results, found, samples, seed)
    write_page(result, samples.taken, [(at, one.name) for at, one in results], page)
    return result


def _at_random(made: SupervisedDeployment, hours: float, chance: random.Random) -> Iterator[Fault]:
    """Faults with pauses between them, until the time is over."""
    ends = time.monotonic() + 3600 * hours
    faults = chosen(FAULTS)
    while (left := ends - time.monotonic()) > 0:
        made.step(f"{left / 60:.0f} minutes to go")
        time.sleep(min(left, chance.uniform(*PAUSE_SECONDS)))
        if time.monotonic() < ends - PAUSE_SECONDS[1]:  # the last samples see no fault
            yield chance.choice(faults)


def _line(result: Result, begun: datetime) -> str:
    minutes = (now() - begun).total_seconds() / 60
    outcome = "ok" if result.ok else "NOT OK: " + "; ".join(result.broken)
    return f"minute {minutes:.0f}: {result.name}: {result.observed or 'not fired'}; {outcome}"


def _report(
    results: list[tuple[datetime, Result]], found: Reconciliation, samples: Samples, seed: int
) -> dict[str, Any]:
    compared = list(trends(samples.taken))
    grown = [sentence(one) for one in compared if not one.flat]
    broken = [f"{one.name}: {what}" for _, one in results for what in one.broken]
    uncompared = [] if compared else ["too few samples to compare anything"]
    return {
        "ok": found.ok and not (grown or broken or uncompared),
        "seed": seed,
        "faults": [*found.faults, *grown, *broken, *uncompared],
        "injected": [{"at": at.isoformat(), **one.as_dict()} for at, one in results],
        "ids": dict(found.numbers),
        "trends": [{**vars(one), "flat": one.flat} for one in compared],
        **measured_on(),
    }
