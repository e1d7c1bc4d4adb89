"""SIGKILL: each process of the deployment once."""

from __future__ import annotations

import signal
from datetime import datetime

import psutil

from verification.faults.deployment import PROGRAMS, TITLES, SupervisedDeployment, now
from verification.faults.fault import Fired, Inject, NotFiredError, gone, replaced, require


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
