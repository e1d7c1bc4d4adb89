"""SIGKILL: each process of the deployment once, and pairs of them at random moments."""

from __future__ import annotations

import random
import signal
import time
from datetime import datetime

import psutil

from verification.faults.deployment import PROGRAMS, TITLES, SupervisedDeployment, now
from verification.faults.fault import Fault, Fired, Inject, NotFiredError, gone, replaced, require
from verification.faults.inference import InferenceService

SLOW = ("streams", "jvm", "worker")
"""Recovery takes up to half a minute: another process is killed meanwhile."""

QUICK = ("gateway", "inference", "supervisor")
BEFORE_SECONDS, BETWEEN_SECONDS = 3.0, 12.0
RANDOM = "random-kills"


def kill(name: str, seconds: float = 30.0) -> Inject:
    """Kill a process, and wait for the one that the supervisor starts in its place.

    Args:
        name: see `SupervisedDeployment.find`.
        seconds: until another one must be there.
    """

    def inject(deployment: SupervisedDeployment) -> Fired:
        old, since = _kill(deployment, name)
        new = replaced(deployment, name, old, seconds)
        if new is None:
            broken = f"no other process of {TITLES[name]} {seconds:.0f} s after the kill"
            return Fired(f"pid {old.pid} is gone", since, (broken,))
        took = (now() - since).total_seconds()
        return Fired(f"pid {old.pid} is gone, pid {new.pid} there after {took:.1f} s", since)

    return inject


def _kill(deployment: SupervisedDeployment, name: str) -> tuple[psutil.Process, datetime]:
    """SIGKILL, and proof that the process is gone; returns it and when it was killed."""
    process, since = require(deployment, name), now()
    process.send_signal(signal.SIGKILL)
    if not gone(process):
        raise NotFiredError(f"pid {process.pid} of {TITLES[name]} outlives SIGKILL")
    return process, since


def kill_supervisor(deployment: SupervisedDeployment) -> Fired:
    """The programs continue without the supervisor; the next one takes them over as they are."""
    before = {name: require(deployment, name).pid for name in PROGRAMS}
    old, since = _kill(deployment, "supervisor")
    done = deployment.storelake("start", *PROGRAMS)
    new = require(deployment, "supervisor")
    pids = {name: getattr(deployment.find(name), "pid", None) for name in PROGRAMS}
    broken = [f"`storelake start` ended with exit code {done.code}"] if done.code else []
    if pids != before:
        broken.append(f"programs were started again: {before}, then {pids}")
    observed = f"pid {old.pid} is gone, pid {new.pid} there; programs keep their pids"
    return Fired(observed, since, broken)


def random_kills(times: int, seed: int) -> list[Fault]:
    """SIGKILL of each of six processes so many times, two at a time, in a random order.

    Args:
        times: kills of each process.
        seed: draws order, pairs and moments.
    """
    rng = random.Random(seed)  # noqa: S311 - replayable, not secret
    pairs = list[tuple[str, str]]()
    for _ in range(times):
        pairs += zip(rng.sample(SLOW, 3), rng.sample(QUICK, 3), strict=True)
    return [
        Fault(
            RANDOM,
            f"SIGKILL of {TITLES[slow]}, and of {TITLES[quick]} during its recovery",
            "others are there within 60 s",
            kill_both(slow, quick, rng.uniform(0, BEFORE_SECONDS), rng.uniform(0, BETWEEN_SECONDS)),
            120,
            group="kills",
        )
        for slow, quick in pairs
    ]


def kill_both(slow: str, quick: str, before: float, between: float) -> Inject:
    """Kill a process, and another one some seconds later, while the first is recovering.

    Args:
        slow: see `SupervisedDeployment.find`.
        quick: the other one.
        before: seconds until the first kill; the load continues.
        between: seconds between both.
    """

    def inject(deployment: SupervisedDeployment) -> Fired:
        deployment.inference = deployment.inference or InferenceService(deployment)
        time.sleep(before)  # the moment is the fault
        first, _ = _kill(deployment, slow)
        time.sleep(between)
        second, since = _kill(deployment, quick)
        _start_again(deployment, quick)
        left = [
            f"no other process of {TITLES[name]} 60 s after the kill"
            for name, old in ((slow, first), (quick, second))
            if replaced(deployment, name, old, 60.0) is None
        ]
        pids = f"pid {first.pid} of {TITLES[slow]} is gone, {between:.1f} s later pid {second.pid}"
        return Fired(f"{pids} of {TITLES[quick]}", since, left)

    return inject


def _start_again(deployment: SupervisedDeployment, name: str) -> None:
    """What nobody but an operator, or its unit, starts again."""
    if name == "supervisor":
        deployment.storelake("start", *PROGRAMS)
    if name == "inference" and deployment.inference is not None:
        deployment.inference.start()
