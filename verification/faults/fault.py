"""What a fault is, what it leaves behind, and the order of events around it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import psutil
from confluent_kafka import KafkaException

from infra.local.process import POLL_SECONDS, collect, is_alive, wait_until
from verification.faults.deployment import LEDGERED, TITLES, SupervisedDeployment, now
from verification.processes import ProcessError

FIRE_SECONDS = 20.0
READY_SECONDS = 120.0


class NotFiredError(ProcessError):
    """The fault could not be injected, or there is no proof that it was."""


class CannotFireError(ProcessError):
    """This machine cannot have the fault; the message names what is missing."""


@dataclass(frozen=True)
class Fired:
    """A fault that was injected.

    Attributes:
        observed: one sentence: what was seen, with pids and counts.
        since: recovery is measured from here (UTC).
        broken: promises that did not hold meanwhile, one sentence each.
    """

    observed: str
    since: datetime
    broken: Sequence[str] = ()


Inject = Callable[[SupervisedDeployment], Fired]


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        name: for `--only`.
        title: what is done.
        must: what must hold, beside ids in = ids out and the recovery.
        inject: does it, and returns when it is over; recovery comes after.
        bound_seconds: from `Fired.since` until every stream has committed again.
        group: for `--group`.
        needs: the deployment: `files` (lake on the disk, Kafka, Postgres), `s3` (lake on MinIO) or
            `pulsar` (a second camera at Pulsar).
        inside: what the deployment is put into meanwhile: `proxies` before its services, or small
            `disks` below its data.
    """

    name: str
    title: str
    must: str
    inject: Inject
    bound_seconds: float = 60.0
    group: str = "once"
    needs: Literal["files", "s3", "pulsar"] = "files"
    inside: Literal["", "proxies", "disks"] = ""


@dataclass
class Result:
    """What became of one fault.

    Attributes:
        observed: that it fired; empty when it did not.
        recovery_seconds: None when the streams did not commit again in time.
        broken: promises that did not hold.
        skipped: why this machine cannot have it.
    """

    name: str
    title: str
    observed: str = ""
    recovery_seconds: float | None = None
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)
    skipped: str = ""

    @property
    def ok(self) -> bool:
        """It fired, the streams recovered, and everything held; or this machine cannot have it."""
        return bool(self.observed or self.skipped) and not self.broken

    def as_dict(self) -> dict[str, Any]:
        """For the report."""
        return {**vars(self), "ok": self.ok}


def prove(fault: Fault, deployment: SupervisedDeployment, result: Result) -> None:
    """Inject one fault and measure the recovery; leaves a deployment that works.

    Args:
        fault: to inject.
        deployment: that it happens to.
        result: what became of it, filled in.

    Raises:
        ProcessError: the deployment cannot be made to work again.
    """
    begun = time.monotonic()
    try:
        fired = fault.inject(deployment)
    except CannotFireError as error:
        result.skipped = str(error)
    except (NotFiredError, psutil.Error, KafkaException, OSError, TimeoutError) as error:
        result.broken.append(f"did not fire: {error or type(error).__name__}")
        _heal(deployment, result)
    else:
        result.observed, result.broken = fired.observed, list(fired.broken)
        _measure(fault, deployment, fired, result)
    result.seconds = round(time.monotonic() - begun, 1)


def _measure(fault: Fault, deployment: SupervisedDeployment, fired: Fired, result: Result) -> None:
    deployment.step(f"{fault.name}: waiting for every stream to commit")
    recovered = deployment.wait_for_commits(fired.since, fault.bound_seconds)
    waited = (now() - fired.since).total_seconds()
    if recovered:
        result.recovery_seconds = round(waited, 1)
        return
    newest = deployment.committed_at()
    late = [n for n in LEDGERED if n not in newest or newest[n] <= fired.since]
    what = f"no commit of {', '.join(late)}" if late else f"states {deployment.states()}"
    result.broken.append(f"not recovered {waited:.0f} s later: {what}")
    _heal(deployment, result)


def _heal(deployment: SupervisedDeployment, result: Result) -> None:
    """Start what does not run, as an operator would, and note it in the result."""
    deployment.step(f"{result.name}: starting by hand what does not run")
    since = now()
    if trouble := deployment.heal():
        result.broken.append(trouble)
    if deployment.wait_for_commits(since, READY_SECONDS):
        return
    deployment.storelake("stop", "streams")
    trouble = deployment.heal()
    if not deployment.wait_for_commits(since, READY_SECONDS):
        raise ProcessError(
            f"after {result.name} ({'; '.join(result.broken)}) the streams commit nothing any "
            f"more, also after a restart ({trouble or deployment.states()})."
        )


def require(deployment: SupervisedDeployment, name: str) -> psutil.Process:
    """The process of this name, or `NotFiredError` when there is none in `FIRE_SECONDS`.

    Spark starts workers with the first task after it has begun, and ends idle ones.
    """
    ends = time.monotonic() + FIRE_SECONDS
    while (process := deployment.find(name)) is None:
        if time.monotonic() > ends:
            raise NotFiredError(f"there is no process of {TITLES[name]}")
        time.sleep(POLL_SECONDS)
    return process


def gone(process: psutil.Process, seconds: float = FIRE_SECONDS) -> bool:
    """Whether a process ends within so many seconds; its zombie is collected."""
    if not wait_until(lambda: not is_alive(process), seconds):
        return False
    collect(process)  # a child of ours, as services are at first: Postgres looks for its last pid
    return True


def replaced(
    deployment: SupervisedDeployment, name: str, old: psutil.Process, seconds: float
) -> psutil.Process | None:
    """The process that takes the place of an old one within so many seconds."""

    def other() -> psutil.Process | None:
        with suppress(psutil.Error):
            one = deployment.find(name)
            return one if one is not None and one.pid != old.pid else None
        return None

    wait_until(lambda: other() is not None, seconds, every=0.1)
    return other()
