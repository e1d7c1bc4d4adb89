"""`storelake keep`: the supervisor process, which `storelake up` and `start` spawn."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

import signal

from cli.context import Profile, read_settings


def keep(profile: Profile = None) -> None:
    """Keep running what `up` and `start` requested, until SIGTERM."""
    from pathlib import Path
    from threading import Event

    from conf.logs import configure_logging
    from infra.local.board import StateDir
    from infra.local.programs import programs
    from infra.local.services import all_services
    from infra.local.supervisor import Supervisor

    settings = read_settings(profile)
    configure_logging("supervisor", settings.log_level)
    cancel = Event()
    supervisor = Supervisor(
        StateDir(settings.var_dir),
        programs(settings),
        settings.supervisor,
        Path.cwd(),
        services=all_services(settings, cancel),
        cancel=cancel,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stop())
    supervisor.run()
