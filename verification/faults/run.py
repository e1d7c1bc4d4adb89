"""The whole proof: a deployment, the load, one fault after the other, then the comparison."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.table import Table
from rich.text import Text

from conf.settings import Settings
from quality.reconciliation import Difference, Reconciliation
from verification.deployment import Deployment, Step
from verification.faults.deployment import SupervisedDeployment, now, supervised
from verification.faults.fault import Fault, Result, prove
from verification.faults.oracle import balance
from verification.processes import ProcessError

WARM_SECONDS = 120.0


def verify(
    deployment: Deployment,
    *,
    faults: Sequence[Fault],
    rate: float,
    seed: int,
    show: Step,
) -> dict[str, Any]:
    """Run the proof; every program is stopped at its end.

    Args:
        deployment: fresh; its supervisor is started.
        faults: to inject, in this order.
        rate: order events a minute.
        seed: of the orders and of the odd messages.
        show: takes one line for each fault that is over.

    Returns:
        The report.

    Raises:
        StorelakeError: programs do not come up at the start.
    """
    results = list[Result]()
    with clients_logged(deployment.settings), supervised(deployment, rate=rate, seed=seed) as made:
        try:
            warm_up(made)
            for number, fault in enumerate(faults, 1):
                made.step(f"{number} of {len(faults)}: {fault.title}")
                results.append(Result(fault.name, fault.title))
                prove(fault, made, results[-1])
                show(_line(results[-1], number, len(faults)))
                made.load.require_going()
            made.step("waiting until everything has arrived, then comparing")
            made.load.finish()
            found = balance(made.load)
        except ProcessError as error:  # the report has what was seen until here
            found = Reconciliation({}, (Difference("unexpected", str(error)),))
    return report(results, found, seed)


@contextmanager
def clients_logged(settings: Settings) -> Iterator[None]:
    """Log our own clients to a file meanwhile: they lose their brokers on purpose."""
    handler = logging.FileHandler(settings.var_dir / "logs" / "verify-faults.log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(handlers=[logging.NullHandler()])  # else later ones are on stderr
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()


def warm_up(made: SupervisedDeployment) -> None:
    """Begin to send, and wait until every stream has committed something of it."""
    made.step("the first orders and frames")
    since = now()
    made.load.begin()
    if not made.wait_for_commits(since, WARM_SECONDS):
        made.fail(f"{WARM_SECONDS:.0f} s after the first message: {made.committed_at()}")


def _line(result: Result, number: int, count: int) -> str:
    recovery = result.recovery_seconds
    recovered = "no recovery" if recovery is None else f"recovered in {recovery:.1f} s"
    outcome = "ok" if result.ok else "NOT OK: " + "; ".join(result.broken)
    observed = result.observed or "not fired"
    return f"{number:2} of {count} {result.name}: {observed}; {recovered}; {outcome}"


def report(results: Sequence[Result], found: Reconciliation, seed: int) -> dict[str, Any]:
    """The content of the JSON report."""
    return {
        "ok": bool(results) and all(one.ok for one in results) and found.ok,
        "seed": seed,
        "results": [one.as_dict() for one in results],
        "ids": dict(found.numbers),
        "faults": found.faults,
    }


def ids_table(content: Mapping[str, Any]) -> Table:
    """The ids that went in and came out."""
    outcome = ("ok", "bold green") if not content["faults"] else ("not ok", "bold red")
    table = Table(title=Text.assemble("ids in = ids out: ", outcome), show_header=False)
    for name, number in content["ids"].items():
        table.add_row(name.replace("_", " "), f"{number:,}")
    return table
