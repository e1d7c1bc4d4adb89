"""`storelake start` and `storelake stop`: what a house runs beside its services, kept running.

A supervisor process (`infra.local.keeper`) starts what these commands ask for, and starts again
what died. Logs are in <var>/logs, under the names of the processes.
"""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import Profile, read_settings
from conf.terminal import and_list, console, one_interrupt, progress

if TYPE_CHECKING:
    from cli.programs import Kept
    from conf.settings import Settings
    from infra.local.board import Board

READY_SECONDS = 180.0
LOCK_SECONDS = 30.0
MARGIN_SECONDS = 15.0
LAST_LINES = 8

Names = Annotated[
    list[str] | None,
    typer.Argument(help="streams, gateway, quality, maintenance, console; all without a name."),
]


def start(names: Names = None, profile: Profile = None) -> None:
    """Start streams, gateway, quality, maintenance and console; they are kept running."""
    settings = read_settings(profile)
    with one_interrupt(), progress("starting") as tell:
        running = start_background(settings, _known(names), tell)
    console().print(f"Running in the background: {and_list(running)}.", highlight=False)


def stop(names: Names = None) -> None:
    """Stop what `start` started, after the batch and the requests that are under way."""
    settings = read_settings()
    with progress("stopping"):
        stopped = stop_background(settings, _known(names))
    console().print(f"Stopped {and_list(stopped)}." if stopped else "Nothing was running.")


def _known(names: Sequence[str] | None) -> tuple[str, ...]:
    from cli.programs import NAMES

    if unknown := [name for name in names or () if name not in NAMES]:
        raise typer.BadParameter(f"{unknown[0]} is unknown; there are {and_list(NAMES)}")
    return tuple(names or ())


def start_background(
    settings: Settings,
    names: Sequence[str],
    tell: Callable[[str], None],
    services: Sequence[str] = (),
) -> list[str]:
    """Ask for these (all without a name), and wait until all of them are ready at one time.

    On Ctrl-C what this call asked for is stopped again. What does not come up is tried on by the
    supervisor, and the rest goes on.

    Args:
        settings: of the deployment.
        names: of `cli.programs.KEPT`.
        tell: hears what goes on.
        services: to be kept running, too; they run already.

    Returns:
        Their names.

    Raises:
        StorelakeError: a port is taken, or something did not come up; with its last words.
    """
    from cli.programs import chosen, require_free, runs_elsewhere
    from conf.errors import StorelakeError
    from infra.local.board import Board
    from infra.local.process import wait_until

    board = Board(settings.var_dir)
    kept = [one for one in chosen(names) if not runs_elsewhere(settings, one)]
    fresh = {one.name for one in kept if board.daemon(one.name).find() is None}
    fresh |= set(services) - board.wanted().keys()
    waiting = list(kept)

    def up() -> bool:
        # All of them each time: one that was ready may have died while another one started.
        waiting[:] = [one for one in kept if not _is_up(settings, board, one)]
        tell(f"waiting for {and_list([_how_it_is(board, one.name) for one in waiting])}")
        return all(board.word(one.name).failed for one in waiting)

    try:
        with _lock(settings):
            require_free(settings, kept)
            _ask_for(settings, [*services, *(one.name for one in kept)])
        wait_until(up, READY_SECONDS, every=0.25)
    except KeyboardInterrupt:
        tell("stopping what was started")
        if fresh:
            _stop(settings, fresh)
        raise
    if waiting:
        raise StorelakeError("\n".join(_failure(settings, board, one) for one in waiting))
    return [one.name for one in chosen(names)]


def keep_services(settings: Settings, services: Sequence[str]) -> None:
    """Have services, which run, kept running.

    Raises:
        StorelakeError: a supervisor of another profile runs.
    """
    with _lock(settings):
        _ask_for(settings, services)


def _ask_for(settings: Settings, names: Sequence[str]) -> None:
    from infra.local.board import Board

    board = Board(settings.var_dir)
    board.want(board.wanted() | dict.fromkeys(names, time.time()))
    _require_keeper(board, settings.profile)


def _is_up(settings: Settings, board: Board, one: Kept) -> bool:
    from cli.programs import is_ready

    return board.daemon(one.name).find() is not None and is_ready(settings, one)


def _how_it_is(board: Board, name: str) -> str:
    note = board.word(name).note
    return f"{name} ({note})" if note else name


def _failure(settings: Settings, board: Board, one: Kept) -> str:
    """Why it is not there, in one sentence with the end of its log."""
    from cli.programs import statuses
    from infra.local.process import tail

    name, word = one.name, board.word(one.name)
    if not word.failed:
        row = next(row for row in statuses(settings) if row.name == name)
        return (
            f"`storelake {name}` is not ready after {READY_SECONDS:.0f} s "
            f"({row.detail or row.state}) and goes on trying: see `storelake logs {name}` and "
            "`storelake status`."
        )
    lines = "\n  ".join(tail(board.daemon(name).log_file, LAST_LINES)) or "(its log is empty)"
    return (
        f"The process {name} did not come up. {word.note}, again and again; mend "
        f"that, then run `storelake start {name}`. The last lines (more with "
        f"`storelake logs {name}`):\n  {lines}"
    )


def require_profile(settings: Settings) -> None:
    """Refuse a profile that is not the one of the supervisor that runs.

    Raises:
        StorelakeError: there is one of another profile.
    """
    from infra.local.board import Board

    _require_same_profile(Board(settings.var_dir), settings.profile)


def _require_same_profile(board: Board, profile: str) -> bool:
    """Whether a supervisor runs; raises StorelakeError if it does in another profile."""
    from conf.errors import StorelakeError

    keeper = board.keeper.recover()
    if keeper is not None and (other := keeper.cmdline()[-1]) != profile:
        raise StorelakeError(
            f"This house runs in the profile {other}, not {profile}: name it with --profile "
            f"{other}, or run `storelake down` first."
        )
    return keeper is not None


def _require_keeper(board: Board, profile: str) -> None:
    """Have a supervisor, in the profile of this command: what it starts follows its own.

    Raises:
        StorelakeError: there is one of another profile.
    """
    if not _require_same_profile(board, profile):
        command = [sys.executable, "-m", "cli.main", "keep", "--profile", profile]
        board.keeper.spawn(command, cwd=Path.cwd())


def stop_background(settings: Settings, names: Sequence[str] = ()) -> list[str]:
    """Stop these processes, all without a name; returns the names of those that ran.

    The supervisor ends with the last thing that it keeps running.
    """
    from cli.programs import chosen

    return _stop(settings, {one.name for one in chosen(names)})


def stop_everything(settings: Settings) -> list[str]:
    """Stop all processes and the supervisor, then the services; returns the names of what ran."""
    from cli.programs import NAMES
    from infra import local
    from infra.local.board import SERVICES

    ran = _stop(settings, {*NAMES, *SERVICES})
    return [*ran, *local.down(settings)]


def _stop(settings: Settings, gone: Collection[str]) -> list[str]:
    """Ask for these no more, and wait until the programs among them have ended."""
    from cli.programs import KEPT, programs
    from infra.local.board import Board
    from infra.local.keeper import end_all
    from infra.local.process import wait_until

    board = Board(settings.var_dir)
    patience = settings.supervisor.stop_seconds
    # Two ranks, and it may just have begun to end something else.
    bound = 3 * patience + MARGIN_SECONDS

    def alive() -> list[str]:
        daemons = [board.daemon(one.name) for one in KEPT if one.name in gone]
        return [daemon.name for daemon in daemons if daemon.find() is not None]

    ran = alive()
    with _lock(settings):
        before = board.wanted()
        wanted = {name: at for name, at in before.items() if name not in gone}
        board.want(wanted)
        if not wanted:
            board.keeper.stop(patience_seconds=bound)
        elif board.keeper.find() is not None:
            wait_until(lambda: not alive(), bound)
        # What is left: there was no supervisor, or it was killed.
        left = [(one, board.daemon(one.name)) for one in programs(settings) if one.name in gone]
        end_all(left, patience)
    return ran


def _lock(settings: Settings) -> AbstractContextManager[None]:
    from infra.local.locks import exclusive

    return exclusive(settings.var_dir / "run" / "keeper.lock", "the processes", LOCK_SECONDS)
