"""A supervisor of small programs: `python -m tests.support.supervised_sandbox VAR FILE`.

FILE is JSON: `programs`, name -> [rank, command], and `conf`, with changed settings.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conf.settings import SupervisorSettings
from infra.local.board import StateDir
from infra.local.children import Program
from infra.local.supervisor import Supervisor


def supervisor_of(var: Path, file: Path, services: Sequence[Any] = ()) -> Supervisor:
    """The supervisor that the file describes, with these services."""
    given = json.loads(file.read_text())
    programs = [
        Program(n, tuple(command), rank) for n, (rank, command) in given["programs"].items()
    ]
    conf = SupervisorSettings(**given["conf"])
    return Supervisor(StateDir(var), programs, conf, var, services=services)


def main(var: Path, file: Path) -> None:
    logging.basicConfig(level="INFO", format="%(message)s")
    supervisor = supervisor_of(var, file)
    signal.signal(signal.SIGTERM, lambda *_: supervisor.stop())
    supervisor.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
