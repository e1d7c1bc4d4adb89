"""The commands of a deployment that the supervisor keeps running beside the services."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from conf.settings import Settings
from conf.settings.base import http_url
from infra.local.children import Program
from infra.local.readiness import console_ready, gateway_ready, responds
from infra.local.state_files import UnreadableStateError
from infra.local.streams import streams_ready


@dataclass(frozen=True)
class ManagedCommand:
    """One command of `storelake` that runs in the background.

    Attributes:
        name: of its row in `status`, its log and its pid file.
        arguments: of `storelake`.
        address: URL at which it listens; empty where it does not.
        setting: the variable that changes its port.
        check: whether it does its work; None: whether its address responds.
        rank: at the end, a higher one ends first.
    """

    name: str
    arguments: Callable[[Settings], tuple[str, ...]]
    address: Callable[[Settings], str]
    setting: str
    check: Callable[[Settings], bool] | None = None
    rank: int = 1

    def command(self, settings: Settings) -> tuple[str, ...]:
        """Its program and arguments."""
        return (sys.executable, "-m", "cli.main", *self.arguments(settings))

    def ready(self, settings: Settings) -> bool:
        """Whether it does its work; False while its state file cannot be read."""
        with suppress(UnreadableStateError):
            return self.check(settings) if self.check else responds(self.address(settings))
        return False


def streams_url(settings: Settings) -> str:
    """Base URL of the metrics of the streams; empty where they are switched off."""
    return _metrics(settings, settings.streams.metrics_port)


def _metrics(settings: Settings, port: int) -> str:
    return http_url(settings.metrics_host, port) if port else ""


def _age(every: timedelta) -> str:
    return f"{max(1, round(every.total_seconds()))}s"


# The streams end last: they may still write what the gateway accepted until its end.
MANAGED = (
    ManagedCommand(
        "streams",
        lambda _: ("run",),
        streams_url,
        "STORELAKE_STREAMS__METRICS_PORT",
        streams_ready,
        rank=0,
    ),
    ManagedCommand(
        "gateway",
        lambda _: ("gateway",),
        lambda s: s.gateway.url,
        "STORELAKE_GATEWAY__PORT",
        gateway_ready,
    ),
    ManagedCommand(
        "quality",
        lambda s: ("quality", "run", "--every", _age(s.supervisor.quality_every)),
        lambda s: _metrics(s, s.quality.metrics_port),
        "STORELAKE_QUALITY__METRICS_PORT",
    ),
    ManagedCommand(
        "maintenance",
        lambda s: ("maintain", "--every", _age(s.supervisor.maintain_every)),
        lambda s: _metrics(s, s.maintenance.metrics_port),
        "STORELAKE_MAINTENANCE__METRICS_PORT",
    ),
    ManagedCommand(
        "console",
        lambda _: ("console",),
        lambda s: s.console.url,
        "STORELAKE_CONSOLE__PORT",
        console_ready,
    ),
)
MANAGED_NAMES = tuple(one.name for one in MANAGED)


def chosen(names: Sequence[str]) -> list[ManagedCommand]:
    """These commands in the order of `MANAGED`; all of them without a name."""
    return [one for one in MANAGED if not names or one.name in names]


def programs(settings: Settings) -> list[Program]:
    """All of them, as the supervisor takes them."""
    return [Program(one.name, one.command(settings), one.rank) for one in MANAGED]
