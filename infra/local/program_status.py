"""Status of the managed commands: one row each for `storelake status`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlsplit

from conf.settings import Settings
from infra.local.board import NAME, ProgramStatus, StateDir
from infra.local.checks import require_free_port
from infra.local.process import resident
from infra.local.programs import MANAGED, ManagedCommand, streams_url
from infra.local.readiness import fetch
from infra.local.service import ServiceStatus
from infra.local.state_files import UnreadableStateError
from infra.local.streams import read_streams, stream_states

TROUBLE = ("failed", "stalled", "retrying")
"""States of a stream that the row of the streams names."""

LAG = "storelake_stream_lag_rows"
RETAINED = "storelake_maintenance_retention_timestamp_seconds"


def runs_elsewhere(settings: Settings, one: ManagedCommand) -> bool:
    """Whether a command runs without the supervisor: in a terminal, or under systemd."""
    if StateDir(settings.var_dir).daemon(one.name).find() is not None:
        return False
    if one.name == "streams":  # single streams may fail while their application runs
        return bool(stream_states(settings))
    return bool(one.address(settings)) and one.ready(settings)


def require_free(settings: Settings, wanted: Sequence[ManagedCommand]) -> None:
    """Make sure that the ports of what does not run yet are free.

    Raises:
        ServiceError: names the port, the process that listens there, and the variable to change.
    """
    board = StateDir(settings.var_dir)
    for one in wanted:
        place = urlsplit(one.address(settings))
        idle = board.daemon(one.name).find() is None and not runs_elsewhere(settings, one)
        if place.port and place.hostname and idle:
            require_free_port(place.hostname, place.port, f"the process {one.name}", one.setting)


def statuses(settings: Settings) -> list[ServiceStatus]:
    """A row for each command, and a last one for the supervisor once something is wanted."""
    board = StateDir(settings.var_dir)
    wanted = board.wanted()
    rows = [_status(settings, board, one, wanted=one.name in wanted) for one in MANAGED]
    process = board.supervisor.find()
    if process is None and not wanted:
        return rows
    if process is None:
        detail = "It ended; `storelake start` takes over what still runs"
        return [*rows, ServiceStatus(NAME, "stopped", "", detail=detail)]
    row = ServiceStatus(NAME, "running", "").with_process(board.supervisor)
    # Without its children, which have rows of their own.
    return [*rows, replace(row, memory_mb=resident(process) // 2**20)]


def supervised(settings: Settings, services: Sequence[ServiceStatus]) -> list[ServiceStatus]:
    """The rows of services, with what the supervisor reports of those that it keeps running."""
    board = StateDir(settings.var_dir)
    wanted = board.wanted()
    return [_supervised(settings, board, row) if row.name in wanted else row for row in services]


def _supervised(settings: Settings, board: StateDir, row: ServiceStatus) -> ServiceStatus:
    status = board.status(row.name)
    row = replace(row, restarts=status.restarts)
    if row.state == "stopped":
        return _absent(board, row, status)
    if row.state == "starting" and status.silent_since is not None:
        silence = max(0.0, time.time() - status.silent_since)
        detail = f"{row.detail}, for {silence:.0f} s"
        if board.supervisor.find() is not None:
            detail += f"; after {settings.supervisor.silent_seconds:.0f} s it is started again"
        return replace(row, state="not answering", detail=detail)
    return row


def _status(
    settings: Settings, board: StateDir, one: ManagedCommand, *, wanted: bool
) -> ServiceStatus:
    status = board.status(one.name)
    row = ServiceStatus(one.name, "off", one.address(settings), restarts=status.restarts)
    try:
        daemon = board.daemon(one.name)
        if daemon.find() is not None:
            return _running(settings, one, row).with_process(daemon)
        if not wanted and runs_elsewhere(settings, one):
            row = replace(row, state="external", detail="not from here")
            return with_streams(settings, row) if one.name == "streams" else row
    except UnreadableStateError as error:
        return replace(row, state="failed", detail=str(error))
    return _absent(board, row, status) if wanted else row


def _running(settings: Settings, one: ManagedCommand, row: ServiceStatus) -> ServiceStatus:
    row = replace(row, state="running" if one.ready(settings) else "starting")
    if one.name == "streams":
        return replace(with_streams(settings, row), lag_rows=lag_rows(settings))
    if one.name == "maintenance":
        return replace(row, detail=_retention(settings, row.address))
    return row


def _absent(board: StateDir, row: ServiceStatus, status: ProgramStatus) -> ServiceStatus:
    """The row of what should run and does not: the cause, and what happens next."""
    if status.failed:
        return replace(row, state="failed", detail=f"{status.note}; given up")
    if status.again_at is not None and board.supervisor.find() is not None:
        pause = max(0.0, status.again_at - time.time())
        return replace(row, state="waiting", detail=f"{status.note}; again in {pause:.0f} s")
    return replace(row, state="stopped", detail=status.note)


def with_streams(settings: Settings, row: ServiceStatus) -> ServiceStatus:
    """The row of the streams with the state of each.

    A stream that is `failed` or `stalled` makes the row so, and the detail names it.
    """
    try:
        application = read_streams(settings.var_dir)
    except UnreadableStateError as error:
        return replace(row, detail=str(error))
    if not application or not application["streams"]:
        return replace(row, detail="starting Spark")
    states = {name: _stream(report) for name, report in application["streams"].items()}
    bad = {name: report for name, report in states.items() if report["state"] in TROUBLE}
    up = sum(report["state"] == "running" for report in states.values())
    # Streams that share a query share its sentence.
    lines = dict.fromkeys(_trouble(name, report) for name, report in bad.items())
    ui = [f"Spark's UI: {application['ui']}"] if application.get("ui") else []
    detail = "; ".join([f"{up} of {len(states)} streams", *lines, *ui])
    row = replace(row, detail=detail, streams=states)
    found = {report["state"] for report in bad.values()}
    worst = next((state for state in ("failed", "stalled") if state in found), row.state)
    return replace(row, state=worst)


def _trouble(name: str, report: Mapping[str, str]) -> str:
    """The detail of a stream, with its name."""
    detail = report["detail"]
    return detail if name in detail else f"{name} {report['state']}: {detail}".rstrip(": ")


def _stream(report: Mapping[str, Any]) -> Mapping[str, str]:
    """State and detail of one stream; by `ready` alone where an application reports no state."""
    plain = "running" if report.get("ready") else "starting"
    return {"state": str(report.get("state", plain)), "detail": str(report.get("detail", ""))}


def lag_rows(settings: Settings) -> int | None:
    """Number of messages that wait for the stream that is furthest behind; None if not known."""
    url = streams_url(settings)
    lags = _samples(url, f"{LAG}{{")
    return int(max(lags)) if lags else None


def _retention(settings: Settings, address: str) -> str:
    """When rows past their age were last deleted (UTC); empty where retention is off."""
    if not settings.retention.enabled:
        return ""
    last = next(iter(_samples(address, f"{RETAINED} ")), 0)
    at = datetime.fromtimestamp(last, timezone.utc) if last else None
    return f"retention ran at {at:%Y-%m-%d %H:%M} UTC" if at else "retention has not run yet"


def _samples(url: str, start: str) -> list[float]:
    """Values of the metrics whose lines start so; none if nobody responds."""
    response = fetch(f"{url}/metrics") if url else None
    # Read as text: prometheus_client takes 50 ms of CPU to be imported.
    lines = response[1].splitlines() if response else []
    try:
        return [float(line.rpartition(" ")[2]) for line in lines if line.startswith(start)]
    except ValueError:
        return []
