"""Starts and stops what a deployment runs beside its services.

Commands write what should run (`infra.local.board`); the supervisor process
(`infra.local.supervisor`) starts it, and starts again what died. Logs are in <var>/logs, under the
names of the processes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from conf.errors import StorelakeError
from conf.settings import Settings
from infra.local.board import SERVICES, StateDir
from infra.local.locks import exclusive
from infra.local.process import tail, wait_until
from infra.local.program_status import require_free, runs_elsewhere, statuses
from infra.local.programs import MANAGED, MANAGED_NAMES, ManagedCommand, chosen, programs
from infra.local.services import down
from infra.local.supervisor import end_all
from infra.terminal import and_list

READY_SECONDS = 180.0
LOCK_SECONDS = 30.0
MARGIN_SECONDS = 15.0
LAST_LINES = 8


def start_programs(
    settings: Settings,
    names: Sequence[str],
    report: Callable[[str], None],
    services: Sequence[str] = (),
) -> list[str]:
    """Start these commands (all without a name); return when all of them are ready at one time.

    On Ctrl-C what this call started is stopped again. The supervisor continues to try what does not
    come up, and the rest runs on.

    Args:
        settings: of the deployment.
        names: of `infra.local.programs.MANAGED`.
        report: receives each step, as text for a person who waits.
        services: names of services that run already and should be kept running, too.

    Returns:
        The names of the commands.

    Raises:
        StorelakeError: a port is taken, or a command did not come up; with the end of its log.
    """
    board = StateDir(settings.var_dir)
    wanted = [one for one in chosen(names) if not runs_elsewhere(settings, one)]
    started = {one.name for one in wanted if board.daemon(one.name).find() is None}
    started |= set(services) - board.wanted().keys()
    try:
        with _lock(settings):
            require_free(settings, wanted)
            _want(settings, [*services, *(one.name for one in wanted)])
        waiting = _wait(settings, wanted, report)
    except KeyboardInterrupt:
        report("stopping what was started")
        if started:
            _stop(settings, started)
        raise
    if waiting:
        raise StorelakeError("\n".join(_failure(settings, board, one) for one in waiting))
    return [one.name for one in chosen(names)]


def _wait(
    settings: Settings, wanted: Sequence[ManagedCommand], report: Callable[[str], None]
) -> list[ManagedCommand]:
    """Wait until all run, or all that do not have failed; returns those that do not run."""
    board = StateDir(settings.var_dir)
    waiting = list(wanted)

    def absent(some: Sequence[ManagedCommand]) -> list[ManagedCommand]:
        return [
            one for one in some if board.daemon(one.name).find() is None or not one.ready(settings)
        ]

    def over() -> bool:
        # At the end all of them: one that was ready may have died while another one started.
        waiting[:] = absent(waiting) or absent(wanted)
        if waiting:
            report(f"waiting for {and_list([_progress(board, one.name) for one in waiting])}")
        return all(board.status(one.name).failed for one in waiting)

    wait_until(over, READY_SECONDS, every=0.25)
    return waiting


def keep_services(settings: Settings, services: Sequence[str]) -> None:
    """Let the supervisor keep services running that run already.

    Raises:
        StorelakeError: a supervisor of another profile runs.
    """
    with _lock(settings):
        _want(settings, services)


def _want(settings: Settings, names: Sequence[str]) -> None:
    board = StateDir(settings.var_dir)
    board.want(board.wanted() | dict.fromkeys(names, time.time()))
    if not require_profile(settings):
        command = [sys.executable, "-m", "cli.main", "keep", "--profile", settings.profile]
        board.supervisor.spawn(command, cwd=Path.cwd())


def _progress(board: StateDir, name: str) -> str:
    note = board.status(name).note
    return f"{name} ({note})" if note else name


def _failure(settings: Settings, board: StateDir, one: ManagedCommand) -> str:
    """Why a command does not run, in one sentence with the end of its log."""
    name, status = one.name, board.status(one.name)
    if not status.failed:
        row = next(row for row in statuses(settings) if row.name == name)
        return (
            f"`storelake {name}` is not ready after {READY_SECONDS:.0f} s "
            f"({row.detail or row.state}); the supervisor continues trying: see `storelake logs "
            f"{name}` and `storelake status`."
        )
    lines = "\n  ".join(tail(board.daemon(name).log_file, LAST_LINES)) or "(its log is empty)"
    return (
        f"The process {name} did not come up. {status.note}, again and again; correct that, then "
        f"run `storelake start {name}`. The last lines (more with `storelake logs {name}`):\n"
        f"  {lines}"
    )


def require_profile(settings: Settings) -> bool:
    """Whether a supervisor runs; it must have the profile of this command, as all it starts has.

    Raises:
        StorelakeError: the supervisor that runs has another profile.
    """
    supervisor = StateDir(settings.var_dir).supervisor.recover()
    if supervisor is not None and (other := supervisor.cmdline()[-1]) != settings.profile:
        raise StorelakeError(
            f"This deployment runs in the profile {other}, not {settings.profile}: name it with "
            f"--profile {other}, or run `storelake down` first."
        )
    return supervisor is not None


def stop_programs(settings: Settings, names: Sequence[str] = ()) -> list[str]:
    """Stop these commands, all without a name; returns the names of those that ran.

    The supervisor ends with the last thing that it keeps running.
    """
    return _stop(settings, {one.name for one in chosen(names)})


def stop_everything(settings: Settings) -> list[str]:
    """Stop all commands and the supervisor, then the services; returns the names of what ran."""
    return [*_stop(settings, {*MANAGED_NAMES, *SERVICES}), *down(settings)]


def _stop(settings: Settings, names: Collection[str]) -> list[str]:
    """Stop wanting these, and wait until the commands among them have ended."""
    board = StateDir(settings.var_dir)
    patience = settings.supervisor.stop_seconds
    # Two ranks, and it may just have begun to end something else.
    bound = 3 * patience + MARGIN_SECONDS
    daemons = [board.daemon(one.name) for one in MANAGED if one.name in names]

    def alive() -> list[str]:
        return [daemon.name for daemon in daemons if daemon.find() is not None]

    ran = alive()
    with _lock(settings):
        wanted = {name: at for name, at in board.wanted().items() if name not in names}
        board.want(wanted)
        if not wanted:
            board.supervisor.stop(patience_seconds=bound)
        elif board.supervisor.find() is not None:
            wait_until(lambda: not alive(), bound)
        # What is left: there was no supervisor, or it was killed.
        left = [(one, board.daemon(one.name)) for one in programs(settings) if one.name in names]
        end_all(left, patience)
    return ran


def _lock(settings: Settings) -> AbstractContextManager[None]:
    return exclusive(settings.var_dir / "run" / "keeper.lock", "the processes", LOCK_SECONDS)
