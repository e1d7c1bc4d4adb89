"""A supervisor of small programs as a process: `python -m tests.support.kept_house VAR FILE`.

FILE is JSON: `programs`, name -> [rank, command], and `conf`, what differs from the settings.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from conf.settings import SupervisorSettings
from infra.local.board import Board
from infra.local.children import Program, Supervised
from infra.local.keeper import Keeper


def keeper_of(var: Path, told: Path, services: Sequence[Supervised] = ()) -> Keeper:
    """The keeper that the file describes, of these services, too."""
    said = json.loads(told.read_text())
    programs = [Program(n, tuple(command), rank) for n, (rank, command) in said["programs"].items()]
    conf = SupervisorSettings(**said["conf"])
    return Keeper(Board(var), programs, conf, var, services=services)


def main(var: Path, told: Path) -> None:
    logging.basicConfig(level="INFO", format="%(message)s")
    keeper = keeper_of(var, told)
    signal.signal(signal.SIGTERM, lambda *_: keeper.stop())
    keeper.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
