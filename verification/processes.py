"""Other storelake commands run beside this one: started, waited for, and stopped in order."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress

import psutil

from conf.errors import StorelakeError
from conf.settings import Settings
from infra.local.process import is_alive, tail, wait_until
from infra.local.readiness import (
    console_ready,
    gateway_ready,
    ready_streams,
    streams_ready,
)

STOP_SECONDS = 60.0
STREAMS_SECONDS = 180.0
GATEWAY_SECONDS = 60.0
CONSOLE_SECONDS = 60.0

Child = psutil.Popen


class ProcessError(StorelakeError):
    """A command beside us did not come up, or died; the message says where to look."""


def command(arguments: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """`storelake <arguments>` as a program, with these variables on top of our own."""
    variables = [f"{name}={value}" for name, value in environment.items()]
    return ["env", *variables, sys.executable, "-m", "cli.main", *arguments]


@contextmanager
def process(
    name: str,
    arguments: Sequence[str],
    settings: Settings,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Child]:
    """Run `storelake <arguments>` beside us; SIGTERM at the end.

    Args:
        name: of its log in <var>/logs, which is added to.
        arguments: of the command line.
        settings: whose logs.
        environment: variables on top of our own.
    """
    log = settings.var_dir / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        # Its own session: Ctrl-C reaches us, and we stop it in order.
        child = psutil.Popen(
            command(arguments, environment or {}),
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield child
        finally:
            stop(child)


def stop(child: Child) -> int:
    """End a child cleanly, and by force after a minute; returns its exit code."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
    try:
        return int(child.wait(STOP_SECONDS))
    except psutil.TimeoutExpired:
        return kill(child)


def kill(child: Child) -> int:
    """SIGKILL for a child and all below it at once, so that none of them can tidy up.

    The process group is not enough: PySpark's workers have one of their own.
    """
    family: list[psutil.Process] = [child]
    with suppress(psutil.NoSuchProcess):
        family += child.children(recursive=True)
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    # Orphans may stay as zombies where nobody collects them; those hold nothing any more.
    wait_until(lambda: not any(is_alive(member) for member in family), STOP_SECONDS)
    return int(child.wait())


def require_alive(child: Child, name: str, settings: Settings) -> None:
    """Raise `ProcessError` with the end of its log when the child has died."""
    if child.poll() is not None:
        last = " | ".join(tail(settings.var_dir / "logs" / f"{name}.log", 3))
        raise ProcessError(f"{name} ended with exit code {child.returncode}: {last}")


def start_streams(
    stack: ExitStack,
    settings: Settings,
    tell: Callable[[str], None],
    names: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Child:
    """Start streams (all without a name) in one Spark application.

    Returns when all queries are active.
    """
    child: Child = stack.enter_context(process("streams", ["run", *names], settings, environment))

    def ready() -> bool:
        require_alive(child, "streams", settings)
        return streams_ready(settings, tell)

    up = 0
    while not wait_until(ready, STREAMS_SECONDS):
        # A busy machine may take its time, as long as one stream after the other comes up.
        if (now := ready_streams(settings)) <= up:
            raise ProcessError(
                f"no further stream came up in {STREAMS_SECONDS:.0f} s; see {settings.var_dir}/logs"
            )
        up = now
    return child


def start_gateway(
    stack: ExitStack, settings: Settings, environment: Mapping[str, str] | None = None
) -> Child:
    """Start the HTTP gateway; returns when it says that it is ready."""
    child: Child = stack.enter_context(process("gateway", ["gateway"], settings, environment))

    def ready() -> bool:
        require_alive(child, "gateway", settings)
        return gateway_ready(settings)

    if not wait_until(ready, GATEWAY_SECONDS):
        raise ProcessError(
            f"the gateway is not ready after {GATEWAY_SECONDS:.0f} s; see {settings.var_dir}/logs"
        )
    return child


def start_console(
    stack: ExitStack, settings: Settings, environment: Mapping[str, str] | None = None
) -> Child:
    """Start the live console; returns when it answers."""
    child: Child = stack.enter_context(process("console", ["console"], settings, environment))

    def ready() -> bool:
        require_alive(child, "console", settings)
        return console_ready(settings)

    if not wait_until(ready, CONSOLE_SECONDS):
        raise ProcessError(
            f"the console is not ready after {CONSOLE_SECONDS:.0f} s; see {settings.var_dir}/logs"
        )
    return child
