"""Which programs and services of this deployment should run and do not."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from infra.local.board import StateDir
from infra.local.state_files import UnreadableStateError


def read_absent(var_dir: Path) -> Mapping[str, str]:
    """Name of each absent one -> how it ended last.

    Empty where no supervisor of this machine is asked for any, or its files cannot be read.
    """
    board = StateDir(var_dir)
    with suppress(UnreadableStateError):
        return {
            name: board.status(name).note
            for name in board.wanted()
            if board.daemon(name).find() is None
        }
    return {}
