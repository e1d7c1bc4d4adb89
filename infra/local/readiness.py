"""Readiness of the programs of a deployment: streams, gateway and console."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx

from conf.settings import Settings
from infra.local.streams import read_streams


def stream_states(settings: Settings) -> dict[str, Any]:
    """Stream -> its state, as the Spark application reports it; empty while none runs.

    Raises:
        UnreadableStateError: the application's state file is damaged.
    """
    report = read_streams(settings.var_dir)
    return dict(report["streams"]) if report else {}


def ready_streams(settings: Settings) -> int:
    """Number of streams whose query is active."""
    return sum(1 for state in stream_states(settings).values() if state["ready"])


def streams_ready(settings: Settings, on_progress: Callable[[str], None] = lambda _: None) -> bool:
    """Whether an application runs and all its queries are active.

    Args:
        settings: of the deployment.
        on_progress: receives the number of active queries as one sentence.
    """
    count, ready = len(stream_states(settings)), ready_streams(settings)
    on_progress(f"{ready} of {count} streams" if count else "starting Spark")
    return bool(count) and ready == count


def gateway_ready(settings: Settings) -> bool:
    """Whether the gateway responds and reaches its broker."""
    with suppress(httpx.TransportError):
        return httpx.get(gateway_url(settings) + "/ready", timeout=2).status_code == 200
    return False


def gateway_url(settings: Settings) -> str:
    """Base URL of the gateway, without a trailing slash."""
    return f"http://{settings.gateway.host}:{settings.gateway.port}"


def console_ready(settings: Settings) -> bool:
    """Whether the console responds, with or without its database."""
    with suppress(httpx.TransportError):
        return httpx.get(f"{settings.console.url}/health", timeout=5).status_code == 200
    return False
