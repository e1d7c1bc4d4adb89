"""`storelake start` and `storelake stop`: streams and gateway without a terminal of their own.

Pid files are in <var>/run, logs in <var>/logs, under the names of the commands: `run`, `gateway`.
"""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.context import Profile, console, progress, read_settings

if TYPE_CHECKING:
    from conf.settings import Settings
    from infra.local.process import Daemon

NAMES = ("gateway", "run")
READY_SECONDS = 180.0
STOP_SECONDS = 60.0
LAST_LINES = 8
What = Annotated[
    Literal["gateway", "run"] | None,
    typer.Argument(help="The gateway, or the streams (run); both without it."),
]


def start(what: What = None, profile: Profile = None) -> None:
    """Start the gateway and the streams in the background, and wait until they are ready."""
    settings = read_settings(profile)
    names = (what,) if what else NAMES
    with progress("starting") as tell:
        for name in names:
            _spawn(settings, name)
        for name in names:
            tell(f"waiting for {name}")
            _wait(settings, name)
    console().print(f"Running in the background: {' and '.join(names)}.")


def stop(what: What = None) -> None:
    """Stop what `start` started, after the batch and the requests that are under way."""
    settings = read_settings()
    with progress("stopping"):
        stopped = stop_background(settings, (what,) if what else NAMES)
    console().print(f"Stopped {' and '.join(stopped)}." if stopped else "Nothing was running.")


def stop_background(settings: Settings, names: tuple[str, ...] = NAMES) -> list[str]:
    """Stop these; returns the names of those that ran."""
    endings = {name: _daemon(settings, name).stop(patience_seconds=STOP_SECONDS) for name in names}
    return [name for name, ending in endings.items() if ending != "absent"]


def _spawn(settings: Settings, name: str) -> None:
    """Start it, unless it runs: from here, or in somebody's terminal."""
    import sys
    from pathlib import Path

    daemon = _daemon(settings, name)
    if daemon.find() is None and not _ready(settings, name):
        daemon.spawn([sys.executable, "-m", "cli.main", name], cwd=Path.cwd())


def _wait(settings: Settings, name: str) -> None:
    from conf.errors import StorelakeError
    from infra.local.process import tail, wait_until

    daemon = _daemon(settings, name)
    wait_until(lambda: _ready(settings, name) or daemon.find() is None, READY_SECONDS)
    if not _ready(settings, name):
        daemon.stop()
        lines = "\n  ".join(tail(daemon.log_file, LAST_LINES)) or "(its log is empty)"
        raise StorelakeError(
            f"`storelake {name}` did not come up; mend what its log says, then start it again. The "
            f"last lines (more with `storelake logs {name}`):\n  {lines}"
        )


def _ready(settings: Settings, name: str) -> bool:
    from cli.processes import gateway_ready, streams_ready

    return gateway_ready(settings) if name == "gateway" else streams_ready(settings)


def _daemon(settings: Settings, name: str) -> Daemon:
    from infra.local.process import Daemon

    return Daemon(name, settings.var_dir / "run", settings.var_dir / "logs")
