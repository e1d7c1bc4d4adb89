"""`storelake keep`: the keeper, which `storelake up` and `start` bring up in the background."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

import signal

from cli.context import Profile, read_settings


def keep(profile: Profile = None) -> None:
    """Keep running what was asked for by `up` and `start`, until SIGTERM."""
    import logging
    from pathlib import Path

    from cli.programs import programs
    from infra.local.keeper import Board, Keeper

    settings = read_settings(profile)
    logging.basicConfig(
        level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    board = Board(settings.var_dir)
    keeper = Keeper(board, programs(settings), settings.keeper, Path.cwd())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: keeper.stop())
    keeper.run()
