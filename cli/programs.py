"""What a house runs beside its services: the commands that the keeper looks after."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import httpx
from prometheus_client.parser import text_string_to_metric_families

from conf.settings import Settings
from infra.local.board import NAME, Board, Word
from infra.local.checks import require_free_port
from infra.local.children import Program
from infra.local.daemon import Daemon
from infra.local.process import resident
from infra.local.readiness import gateway_ready, gateway_url
from infra.local.service import ServiceStatus
from infra.local.state_files import UnreadableStateError
from infra.local.streams import stream_states, streams_ready

TROUBLE = ("failed", "stalled", "retrying")
"""States of a stream that the row of the streams names."""


@dataclass(frozen=True)
class Kept:
    """One command of the house.

    Attributes:
        name: of its row, log and pid file.
        arguments: of `storelake`.
        address: where it answers; empty where it does not listen.
        setting: the variable that moves its port.
        ready: whether it does its work.
        rank: at the end, a higher one goes first.
    """

    name: str
    arguments: Callable[[Settings], tuple[str, ...]]
    address: Callable[[Settings], str]
    setting: str
    ready: Callable[[Settings], bool]
    rank: int = 1

    def command(self, settings: Settings) -> tuple[str, ...]:
        """Its program and arguments."""
        return (sys.executable, "-m", "cli.main", *self.arguments(settings))


def _metrics(settings: Settings, port: int) -> str:
    return f"http://{settings.metrics_host}:{port}" if port else ""


def _quality(settings: Settings) -> str:
    return _metrics(settings, settings.quality.metrics_port)


def _maintenance(settings: Settings) -> str:
    return _metrics(settings, settings.maintenance.metrics_port)


def _console(settings: Settings) -> str:
    return f"http://{settings.console.host}:{settings.console.port}"


def _answers(address: str) -> bool:
    """Whether somebody speaks HTTP there; an address that is switched off counts as a yes."""
    with suppress(httpx.TransportError):
        return not address or httpx.get(address, timeout=2).status_code < 500
    return False


# The streams go last: what the gateway took in until its end, they may still write.
KEPT = (
    Kept(
        "streams",
        lambda _: ("run",),
        lambda s: _metrics(s, s.streams.metrics_port),
        "STORELAKE_STREAMS__METRICS_PORT",
        streams_ready,
        rank=0,
    ),
    Kept("gateway", lambda _: ("gateway",), gateway_url, "STORELAKE_GATEWAY__PORT", gateway_ready),
    Kept(
        "quality",
        lambda s: ("quality", "run", "--every", _age(s.supervisor.quality_every.total_seconds())),
        _quality,
        "STORELAKE_QUALITY__METRICS_PORT",
        lambda s: _answers(_quality(s)),
    ),
    Kept(
        "maintenance",
        lambda s: ("maintain", "--every", _age(s.supervisor.maintain_every.total_seconds())),
        _maintenance,
        "STORELAKE_MAINTENANCE__METRICS_PORT",
        lambda s: _answers(_maintenance(s)),
    ),
    Kept(
        "console",
        lambda _: ("console",),
        _console,
        "STORELAKE_CONSOLE__PORT",
        lambda s: _answers(_console(s)),
    ),
)
NAMES = tuple(one.name for one in KEPT)


def _age(seconds: float) -> str:
    return f"{max(1, round(seconds))}s"


def chosen(names: Sequence[str]) -> list[Kept]:
    """These of the house's commands, in their order; all of them without a name."""
    return [one for one in KEPT if not names or one.name in names]


def programs(settings: Settings) -> list[Program]:
    """All of them, as the keeper takes them."""
    return [Program(one.name, one.command(settings), one.rank) for one in KEPT]


def runs_elsewhere(settings: Settings, one: Kept) -> bool:
    """Whether somebody else runs it: in a terminal, or under systemd."""
    if Board(settings.var_dir).daemon(one.name).find() is not None:
        return False
    if one.name == "streams":  # those of an application may fail one by one, and it is there
        return bool(stream_states(settings))
    return bool(one.address(settings)) and one.ready(settings)


def require_free(settings: Settings, wanted: Sequence[Kept]) -> None:
    """Make sure that nobody has taken the ports of what does not run yet.

    Raises:
        ServiceError: names the port, who has it, and the variable that moves ours.
    """
    board = Board(settings.var_dir)
    for one in wanted:
        place = urlsplit(one.address(settings))
        idle = board.daemon(one.name).find() is None and not runs_elsewhere(settings, one)
        if place.port and place.hostname and idle:
            require_free_port(place.hostname, place.port, f"the process {one.name}", one.setting)


def statuses(settings: Settings) -> list[ServiceStatus]:
    """How each process is doing; the supervisor itself last, once there is one to speak of."""
    board = Board(settings.var_dir)
    wanted = board.wanted()
    rows = [_status(settings, board, one, asked=one.name in wanted) for one in KEPT]
    keeper = board.keeper.find()
    if keeper is None and not wanted:
        return rows
    lost = "It ended; `storelake start` takes over what still runs"
    row = ServiceStatus(NAME, "running" if keeper else "stopped", "", detail="" if keeper else lost)
    row = _with_process(row, board.keeper)
    # Without its children, which have rows of their own.
    return [*rows, replace(row, memory_mb=resident(keeper) // 2**20 if keeper else None)]


def supervised(settings: Settings, services: Sequence[ServiceStatus]) -> list[ServiceStatus]:
    """The rows of services, with what the supervisor says of those that it keeps running."""
    board = Board(settings.var_dir)
    wanted = board.wanted()
    return [_supervised(settings, board, row) if row.name in wanted else row for row in services]


def _supervised(settings: Settings, board: Board, row: ServiceStatus) -> ServiceStatus:
    word = board.word(row.name)
    row = replace(row, restarts=word.restarts)
    if row.state == "stopped":
        return _absent(board, row, word)
    if row.state == "starting" and word.silent_since is not None:
        silence = max(0.0, time.time() - word.silent_since)
        detail = f"{row.detail}, for {silence:.0f} s"
        if board.keeper.find() is not None:
            detail += f"; after {settings.supervisor.silent_seconds:.0f} s it is started again"
        return replace(row, state="not answering", detail=detail)
    return row


def is_ready(settings: Settings, one: Kept) -> bool:
    """Whether it does its work; not as long as it says so in a file that cannot be read."""
    with suppress(UnreadableStateError):
        return one.ready(settings)
    return False


def _status(settings: Settings, board: Board, one: Kept, *, asked: bool) -> ServiceStatus:
    try:
        return _known_status(settings, board, one, asked=asked)
    except UnreadableStateError as error:
        return ServiceStatus(one.name, "failed", one.address(settings), detail=str(error))


def _known_status(settings: Settings, board: Board, one: Kept, *, asked: bool) -> ServiceStatus:
    daemon, word = board.daemon(one.name), board.word(one.name)
    row = ServiceStatus(one.name, "off", one.address(settings), restarts=word.restarts)
    if daemon.find() is not None:
        row = replace(row, state="running" if is_ready(settings, one) else "starting")
        if one.name == "streams":
            row = replace(with_streams(settings, row), lag_rows=lag_rows(settings))
        return _with_process(row, daemon)
    if not asked:
        if runs_elsewhere(settings, one):
            row = replace(row, state="external", detail="not from here")
            return with_streams(settings, row) if one.name == "streams" else row
        return row
    return _absent(board, row, word)


def _absent(board: Board, row: ServiceStatus, word: Word) -> ServiceStatus:
    """What shall run and does not: the cause, and what happens next."""
    if word.failed:
        return replace(row, state="failed", detail=f"{word.note}; given up")
    if word.again_at is not None and board.keeper.find() is not None:
        pause = max(0.0, word.again_at - time.time())
        return replace(row, state="waiting", detail=f"{word.note}; again in {pause:.0f} s")
    return replace(row, state="stopped", detail=word.note)


def with_streams(settings: Settings, row: ServiceStatus) -> ServiceStatus:
    """The row of the streams, with what their application says of each.

    One that is `failed` or `stalled` makes the row so, and the detail names it.
    """
    try:
        states = {name: _stream(said) for name, said in stream_states(settings).items()}
    except UnreadableStateError as error:
        return replace(row, detail=str(error))
    if not states:
        return replace(row, detail="starting Spark")
    bad = {name: said for name, said in states.items() if said["state"] in TROUBLE}
    up = sum(said["state"] == "running" for said in states.values())
    # Streams that share a query share its sentence.
    lines = dict.fromkeys(_trouble(name, said) for name, said in bad.items())
    detail = "; ".join([f"{up} of {len(states)} streams", *lines])
    row = replace(row, detail=detail, streams=states)
    found = {said["state"] for said in bad.values()}
    if "failed" in found:
        return replace(row, state="failed")
    return replace(row, state="stalled") if "stalled" in found else row


def _trouble(name: str, said: Mapping[str, str]) -> str:
    """The sentence of a stream, which names it."""
    detail = said["detail"]
    return detail if name in detail else f"{name} {said['state']}: {detail}".rstrip(": ")


def _stream(said: Mapping[str, Any]) -> Mapping[str, str]:
    """State and detail of one stream, also as an application without states says them."""
    plain = "running" if said.get("ready") else "starting"
    return {"state": str(said.get("state", plain)), "detail": str(said.get("detail", ""))}


def _with_process(row: ServiceStatus, daemon: Daemon) -> ServiceStatus:
    process = daemon.find()
    return replace(
        row,
        pid=process.pid if process else None,
        memory_mb=daemon.memory_mb(),
        uptime_seconds=daemon.uptime_seconds(),
    )


def lag_rows(settings: Settings) -> int | None:
    """How many messages wait for the stream that is furthest behind; None where nobody says."""
    address = _metrics(settings, settings.streams.metrics_port)
    if not address:
        return None
    try:
        text = httpx.get(f"{address}/metrics", timeout=2).text
        families = list(text_string_to_metric_families(text))
    except (httpx.TransportError, ValueError):
        return None
    values = [s.value for f in families for s in f.samples if s.name == "storelake_stream_lag_rows"]
    return int(max(values)) if values else None
