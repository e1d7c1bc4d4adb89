"""The whole proof: a deployment, the load, one fault after the other, then the comparison."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import groupby
from statistics import median
from typing import Any

from rich.console import Group
from rich.text import Text

from conf.settings import Settings
from infra.terminal_table import TextTable
from quality.reconciliation import Difference, Reconciliation
from verification.deployment import Deployment, Step
from verification.faults.deployment import SupervisedDeployment, now, supervised
from verification.faults.disks import small_disks
from verification.faults.fault import Fault, Result, prove
from verification.faults.network import behind_proxies
from verification.faults.oracle import balance
from verification.processes import ProcessError

WARM_SECONDS = 120.0
INSIDE: Mapping[str, Callable[[SupervisedDeployment], AbstractContextManager[None]]] = {
    "": lambda _: nullcontext(),
    "proxies": behind_proxies,
    "disks": small_disks,
}


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
            for inside, some in groupby(faults, key=lambda fault: fault.inside):
                with INSIDE[inside](made):
                    for fault in some:
                        results.append(Result(fault.name, fault.title))
                        _prove(made, fault, results[-1], f"{len(results):2} of {len(faults)}", show)
            if made.inference is not None:
                made.inference.end()
            made.step("waiting until everything has arrived, then comparing")
            made.load.finish()
            found = balance(made.load)
        except ProcessError as error:  # the report has what was seen until here
            found = Reconciliation({}, (Difference("unexpected", str(error)),))
    return report(results, found, seed)


def _prove(
    made: SupervisedDeployment, fault: Fault, result: Result, number: str, show: Step
) -> None:
    made.step(f"{number}: {fault.title}")
    prove(fault, made, result)
    show(f"{number} {_line(result)}")
    made.load.require_going()


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


def _line(result: Result) -> str:
    if result.skipped:
        return f"{result.name}: skipped: {result.skipped}"
    recovery = result.recovery_seconds
    recovered = "no recovery" if recovery is None else f"recovered in {recovery:.1f} s"
    outcome = "ok" if result.ok else "NOT OK: " + "; ".join(result.broken)
    observed = result.observed or "not fired"
    return f"{result.name}: {observed}; {recovered}; {outcome}"


def report(results: Sequence[Result], found: Reconciliation, seed: int) -> dict[str, Any]:
    """The result in one deployment, as JSON."""
    return {
        "ok": bool(results) and all(one.ok for one in results) and found.ok,
        "seed": seed,
        "results": [one.as_dict() for one in results],
        "ids": dict(found.numbers),
        "faults": found.faults,
    }


def merged(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The report of all deployments: ids are added up; load of the machine in 15 minutes."""
    ids = Counter[str]()
    for one in reports:
        ids.update(one["ids"])
    return {
        "ok": bool(reports) and all(one["ok"] for one in reports),
        "seed": reports[0]["seed"] if reports else 0,
        "minutes": round(sum(one["seconds"] for one in reports) / 60),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[2], 1),
        "results": [result for one in reports for result in one["results"]],
        "ids": dict(ids),
        "faults": [sentence for one in reports for sentence in one["faults"]],
    }


def summary(results: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str, str]]:
    """A row for each fault: its name, what was done, how often it held, seconds to recover."""
    rows = []
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for one in results:
        by_name.setdefault(one["name"], []).append(one)
    for name, some in by_name.items():
        held = sum(one["ok"] and not one["skipped"] for one in some)
        skipped = sum(bool(one["skipped"]) for one in some)
        took = sorted(one["recovery_seconds"] for one in some if one["recovery_seconds"])
        seconds = "" if not took else f"{took[0]:.0f}"
        if len(took) > 1:
            seconds = f"{median(took):.0f}, at most {took[-1]:.0f}"
        count = "skipped" if skipped else f"{held} of {len(some)}"
        rows.append((name, counted_title(some[0]["title"], len(some)), count, seconds))
    return rows


def counted_title(title: str, times: int) -> str:
    """What is done, where a fault has several variants: the first, and how many more there are."""
    return title if times == 1 else f"{title}; {times - 1} more of this kind"


def tables(content: Mapping[str, Any]) -> Group:
    """The faults, and the ids that went in and came out."""
    outcome = ("ok", "bold green") if not content["faults"] else ("not ok", "bold red")
    counts = [(name.replace("_", " "), f"{number:,}") for name, number in content["ids"].items()]
    title = Text.assemble("ids in = ids out: ", outcome)
    ids = TextTable(("ids", "count"), counts, numbers=("count",), title=title)
    names = ("fault", "what was done", "held", "seconds to recover")
    return Group(TextTable(names, summary(content["results"]), prose=names[1:]), ids)
