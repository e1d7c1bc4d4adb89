"""SIGKILL: each process of the deployment once."""

from __future__ import annotations

import signal
from collections.abc import Callable

import psutil

from verification.faults.deployment import PROGRAMS, SupervisedDeployment, now
from verification.faults.fault import Fired, NotFiredError, Trial, gone, replaced, require

BACK_SECONDS = 30.0
APPLICATION_BACK_SECONDS = 60.0

Find = Callable[[SupervisedDeployment], "psutil.Process | None"]


def _kill(process: psutil.Process, name: str) -> None:
    """SIGKILL, and proof that it is gone."""
    process.send_signal(signal.SIGKILL)
    if not gone(process):
        raise NotFiredError(f"pid {process.pid} of {name} outlives SIGKILL")


def kill(name: str, find: Find, seconds: float = BACK_SECONDS) -> Callable[[Trial], Fired]:
    """Kill a process, and wait for the one that the supervisor starts in its place.

    Args:
        name: for sentences.
        find: the process now.
        seconds: until another one must be there.
    """

    def inject(trial: Trial) -> Fired:
        old = require(find(trial.deployment), name)
        since = now()
        _kill(old, name)
        new = replaced(lambda: find(trial.deployment), old, seconds)
        if new is None:
            broken = f"no other process of {name} {seconds:.0f} s after the kill"
            return Fired(f"pid {old.pid} is gone", since, (broken,))
        took = (now() - since).total_seconds()
        return Fired(f"pid {old.pid} is gone, pid {new.pid} there after {took:.1f} s", since)

    return inject


def kill_supervisor(trial: Trial) -> Fired:
    """The programs go on without the supervisor; the next one takes them over as they are."""
    deployment = trial.deployment
    old = require(deployment.board.supervisor.find(), "the supervisor")
    before = {name: require(deployment.program(name), name).pid for name in PROGRAMS}
    since = now()
    _kill(old, "the supervisor")
    done = deployment.storelake("start", *PROGRAMS)
    new = require(deployment.board.supervisor.find(), "the supervisor")
    pids = {name: getattr(deployment.program(name), "pid", None) for name in PROGRAMS}
    broken = [f"`storelake start` ended with exit code {done.code}"] if done.code else []
    if pids != before:
        broken.append(f"programs were started again: {before}, then {pids}")
    observed = f"pid {old.pid} is gone, pid {new.pid} there; programs keep their pids"
    return Fired(observed, since, tuple(broken))


kill_driver = kill("the driver", lambda d: d.program("streams"), APPLICATION_BACK_SECONDS)
kill_jvm = kill("the JVM of the streams", lambda d: d.jvm(), APPLICATION_BACK_SECONDS)
kill_gateway = kill("the gateway", lambda d: d.program("gateway"))
kill_kafka = kill("Kafka", lambda d: d.service("kafka"))
kill_postgres = kill("Postgres", lambda d: d.service("postgres"))
