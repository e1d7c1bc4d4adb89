"""A keeper over small programs, as a process of its own: `python -m tests.kept_house VAR FILE`.

FILE is JSON: `programs`, name -> [rank, command], and `conf`, what differs from the settings.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
from pathlib import Path

from conf.settings import KeeperSettings
from infra.local.keeper import Board, Keeper, Program


def keeper_of(var: Path, told: Path) -> Keeper:
    """The keeper that the file describes."""
    said = json.loads(told.read_text())
    programs = [Program(n, tuple(command), rank) for n, (rank, command) in said["programs"].items()]
    return Keeper(Board(var), programs, KeeperSettings(**said["conf"]), var)


def main(var: Path, told: Path) -> None:
    logging.basicConfig(level="INFO", format="%(message)s")
    keeper = keeper_of(var, told)
    signal.signal(signal.SIGTERM, lambda *_: keeper.stop())
    keeper.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
