"""A supervisor of small programs as a process: `python -m tests.support.supervised_sandbox VAR
FILE`.

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
from infra.local.board import StateDir
from infra.local.children import Program, Supervised
from infra.local.supervisor import Supervisor


def supervisor_of(var: Path, output: Path, services: Sequence[Supervised] = ()) -> Supervisor:
    """The supervisor that the file describes, of these services, too."""
    reported = json.loads(output.read_text())
    programs = [
        Program(n, tuple(command), rank) for n, (rank, command) in reported["programs"].items()
    ]
    conf = SupervisorSettings(**reported["conf"])
    return Supervisor(StateDir(var), programs, conf, var, services=services)


def main(var: Path, output: Path) -> None:
    logging.basicConfig(level="INFO", format="%(message)s")
    supervisor = supervisor_of(var, output)
    signal.signal(signal.SIGTERM, lambda *_: supervisor.stop())
    supervisor.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
