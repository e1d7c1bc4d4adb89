"""`storelake start` and `storelake stop`: what a house runs beside its services, kept running.

A keeper (`infra.local.keeper`) starts what these commands ask for, and starts again what died. Logs
are in <var>/logs, under the names of the processes.
"""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import Profile, and_list, console, one_interrupt, progress, read_settings

if TYPE_CHECKING:
    from cli.programs import Kept
    from conf.settings import Settings
    from infra.local.keeper import Board

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
    settings: Settings, names: Sequence[str], tell: Callable[[str], None]
) -> list[str]:
    """Ask for these (all without a name), and wait until they are ready.

    On Ctrl-C what this call asked for is stopped again. What does not come up is tried on by the
    keeper, and the rest goes on.

    Args:
        settings: whose house.
        names: of `cli.programs.KEPT`.
        tell: hears what goes on.

    Returns:
        Their names.

    Raises:
        StorelakeError: a port is taken, or something did not come up; with its last words.
    """
    from cli.programs import chosen, require_free, runs_elsewhere
    from conf.errors import StorelakeError
    from infra.local.keeper import Board
    from infra.local.process import wait_until

    board = Board(settings.var_dir)
    kept = [one for one in chosen(names) if not runs_elsewhere(settings, one)]
    fresh = [one.name for one in kept if board.daemon(one.name).find() is None]
    waiting = list(kept)

    def up() -> bool:
        waiting[:] = [one for one in waiting if not _is_up(settings, board, one)]
        tell(f"waiting for {and_list([_how_it_is(board, one.name) for one in waiting])}")
        return all(board.word(one.name).failed for one in waiting)

    try:
        with _lock(settings):
            require_free(settings, kept)
            board.want(board.wanted() | dict.fromkeys([one.name for one in kept], time.time()))
            _require_keeper(board, settings.profile)
        wait_until(up, READY_SECONDS, every=0.25)
    except KeyboardInterrupt:
        tell("stopping what was started")
        if fresh:
            stop_background(settings, fresh)
        raise
    if waiting:
        raise StorelakeError("\n".join(_obituary(board, one.name) for one in waiting))
    return [one.name for one in chosen(names)]


def _is_up(settings: Settings, board: Board, one: Kept) -> bool:
    return board.daemon(one.name).find() is not None and one.ready(settings)


def _how_it_is(board: Board, name: str) -> str:
    note = board.word(name).note
    return f"{name} (it {note})" if note else name


def _obituary(board: Board, name: str) -> str:
    """Why it is not there, in one sentence with the end of its log."""
    from infra.local.process import tail

    word = board.word(name)
    if not word.failed:
        return (
            f"`storelake {name}` is not ready after {READY_SECONDS:.0f} s and goes on trying: see "
            f"`storelake logs {name}` and `storelake status`."
        )
    lines = "\n  ".join(tail(board.daemon(name).log_file, LAST_LINES)) or "(its log is empty)"
    return (
        f"The process {name} did not come up: it {word.note.split(':')[0]}, again and again; mend "
        f"what its log says, then run `storelake start {name}`. The last lines (more with "
        f"`storelake logs {name}`):\n  {lines}"
    )


def _require_keeper(board: Board, profile: str) -> None:
    """Have a keeper, in the profile of this command: what it starts follows its own.

    Raises:
        StorelakeError: there is one of another profile.
    """
    from conf.errors import StorelakeError

    command = [sys.executable, "-m", "cli.main", "keep", "--profile", profile]
    keeper = board.keeper.find()
    if keeper is None:
        board.keeper.spawn(command, cwd=Path.cwd())
    elif (other := keeper.cmdline()[-1]) != profile:
        raise StorelakeError(
            f"This house runs in the profile {other}, not {profile}: name it with --profile "
            f"{other}, or run `storelake down` first."
        )


def stop_background(settings: Settings, names: Sequence[str] = ()) -> list[str]:
    """Stop these, all and the keeper without a name; returns the names of those that ran."""
    from cli.programs import chosen, programs
    from infra.local.keeper import Board, end_all
    from infra.local.process import wait_until

    board, gone = Board(settings.var_dir), {one.name for one in chosen(names)}
    patience = settings.keeper.stop_seconds
    # Two ranks, and it may just have begun to end something else.
    bound = 3 * patience + MARGIN_SECONDS

    def alive() -> list[str]:
        return [one.name for one in chosen(names) if board.daemon(one.name).find() is not None]

    ran = alive()
    with _lock(settings):
        before = board.wanted()
        wanted = {name: at for name, at in before.items() if name not in gone}
        if wanted != before:
            board.want(wanted)
        if not wanted:
            board.keeper.stop(patience_seconds=bound)
        elif board.keeper.find() is not None:
            wait_until(lambda: not alive(), bound)
        # What is left: there was no keeper, or it was killed.
        left = [(one, board.daemon(one.name)) for one in programs(settings) if one.name in gone]
        end_all(left, patience)
    return ran


def _lock(settings: Settings) -> AbstractContextManager[None]:
    from infra.local.locks import exclusive

    return exclusive(settings.var_dir / "run" / "keeper.lock", "the processes", LOCK_SECONDS)
