"""Processes that hang (SIGSTOP), and connections that go silent without a reset."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import psutil

from infra.local.process import is_alive, wait_until
from verification.faults.deployment import PROGRAMS, TITLES, SupervisedDeployment, now
from verification.faults.fault import Fired, Inject, NotFiredError, gone, require
from verification.faults.proxy import TcpProxy
from verification.processes import family, kill_family

HANG_SECONDS = 75.0
REPORT_SECONDS = 65.0
"""`streams.stalled_after` is 60 s; a batch may begin a little after the fault."""

RECONNECT_SECONDS = 60.0
TERM_SECONDS = 20.0
RECENT = timedelta(seconds=10)
WELL = ("running", "starting")


Report = tuple[float, str]
"""Seconds until the first report of trouble in a stream, and its sentence."""


def hang(name: str) -> Inject:
    """Stop a process and its children by SIGSTOP for 75 s, then continue them.

    Meanwhile some stream must report that it is not running.
    """

    def inject(deployment: SupervisedDeployment) -> Fired:
        title = TITLES[name]
        with stopped(deployment, require(deployment, name)) as pids:
            report = watch(deployment, f"{title} is stopped", HANG_SECONDS)
        observed = f"{len(pids)} processes of {title} in state T for {HANG_SECONDS:.0f} s"
        return Fired(f"{observed}; {report_words(report)}", now(), _in_time(report, title))

    return inject


@contextmanager
def stopped(
    deployment: SupervisedDeployment, process: psutil.Process, *, alone: bool = False
) -> Iterator[list[int]]:
    """SIGSTOP for a process and its children, SIGCONT at the end; yields their pids.

    Args:
        deployment: whose process.
        process: of a program or service.
        alone: leave its children running.

    Raises:
        NotFiredError: one of them is not in state T.
    """
    processes = [process] if alone else family(process)
    deployment.signal(processes, signal.SIGSTOP)
    try:
        if not wait_until(lambda: all(map(_is_stopped, processes)), 5.0):
            raise NotFiredError(f"pid {process.pid} does not stop")
        yield [one.pid for one in processes]
    finally:
        deployment.signal(processes, signal.SIGCONT)


def _is_stopped(process: psutil.Process) -> bool:
    return not is_alive(process) or process.status() == psutil.STATUS_STOPPED


def watch(
    deployment: SupervisedDeployment,
    what: str,
    seconds: float,
    each: Callable[[], object] = lambda: None,
) -> Report | None:
    """Let a fault last so long, with a call every second; the first report of trouble."""
    begun, first = time.monotonic(), None
    while (spent := time.monotonic() - begun) < seconds:
        deployment.step(f"{what}, {spent:.0f} of {seconds:.0f} s")
        first = first or _trouble(deployment, spent)
        each()
        time.sleep(1.0)  # the length of the fault is what is waited for
    return first


def _trouble(deployment: SupervisedDeployment, spent: float) -> Report | None:
    for name, one in deployment.streams().items():
        if one.get("state", "running") not in WELL:
            return spent, f"{name} is {one['state']}: {one.get('detail', '')}"
    return None


def report_words(report: Report | None) -> str:
    """The first report of trouble as a phrase."""
    if report is None:
        return "nothing was reported"
    return f"reported after {report[0]:.0f} s: {report[1]}"


def _in_time(report: Report | None, name: str) -> tuple[str, ...]:
    if report is not None and report[0] <= REPORT_SECONDS:
        return ()
    return (f"no stream reported within {REPORT_SECONDS:.0f} s that {name} does not answer",)


def silence(name: str) -> Inject:
    """Connections of streams and gateway to a service go silent, while new connections work."""

    def inject(deployment: SupervisedDeployment) -> Fired:
        programs = deployment.beside
        if programs is None:
            raise NotFiredError("no streams run behind a proxy")
        observed, broken = _silence(deployment, name, deployment.proxies[name])
        broken += _end(programs.streams, f"with silent connections to {name}")
        programs.restart()
        return Fired(observed, now(), broken)

    return inject


def _silence(
    deployment: SupervisedDeployment, name: str, proxy: TcpProxy
) -> tuple[str, tuple[str, ...]]:
    """What was observed, and what is broken: no new connection, or no report, within a minute."""

    def commits() -> bool:
        return deployment.all_committed(now() - RECENT)

    count = proxy.silence()
    if not count:
        raise NotFiredError(f"no connection to {name} was open")
    report = watch(deployment, f"{count} connections to {name} are silent", RECONNECT_SECONDS)
    begun = now()
    broken = () if commits() else _in_time(report, name)
    deployment.step(f"waiting until the streams have reconnected to {name}")
    if not wait_until(commits, RECONNECT_SECONDS, every=0.5):
        broken += (f"no commit two minutes after the connections to {name} went silent",)
    more = (now() - begun).total_seconds()
    observed = f"{count} connections to {name} went silent, {proxy.live} others since then"
    return (
        f"{observed}; commits after {RECONNECT_SECONDS + more:.0f} s; {report_words(report)}",
        broken,
    )


def _end(child: psutil.Process, when: str) -> tuple[str, ...]:
    """SIGTERM must end the application in time."""
    if not is_alive(child):
        return (f"the application ended {when}",)
    child.send_signal(signal.SIGTERM)
    if gone(child, TERM_SECONDS):
        return ()
    return (f"the application runs {TERM_SECONDS:.0f} s after SIGTERM {when}",)


def terminate(deployment: SupervisedDeployment) -> Fired:
    """SIGTERM for streams, gateway and maintenance at once while Postgres hangs.

    The supervisor is stopped meanwhile, so that it starts none of them again.
    """
    running = {name: require(deployment, name) for name in PROGRAMS}
    with (
        stopped(deployment, require(deployment, "supervisor"), alone=True),
        stopped(deployment, require(deployment, "postgres")) as pids,
    ):
        time.sleep(2.0)  # until batches wait for Postgres
        begun = time.monotonic()
        deployment.signal(list(running.values()), signal.SIGTERM)
        wait_until(lambda: not any(map(is_alive, running.values())), TERM_SECONDS, every=0.1)
        took = time.monotonic() - begun
        left = [name for name, one in running.items() if is_alive(one)]
        for name in left:
            kill_family(running[name])
    broken = tuple(f"{name} runs {TERM_SECONDS:.0f} s after SIGTERM" for name in left)
    ended = f"all ended after {took:.1f} s" if not left else f"{', '.join(left)} had to be killed"
    return Fired(f"Postgres in state T ({len(pids)} processes); {ended}", now(), broken)
