"""Whether the HTTP processes of a deployment do their work, and where they listen."""

from __future__ import annotations

from contextlib import suppress

import httpx

from conf.settings import Settings

SECONDS = 2.0
CONSOLE_SECONDS = 5.0  # it queries Postgres before it responds


def gateway_url(settings: Settings) -> str:
    """Base URL of the gateway."""
    return f"http://{settings.gateway.host}:{settings.gateway.port}"


def gateway_ready(settings: Settings) -> bool:
    """Whether the gateway responds and reaches its broker."""
    return _status(gateway_url(settings) + "/ready", SECONDS) == 200


def console_ready(settings: Settings) -> bool:
    """Whether the console responds, with or without its database."""
    return _status(f"{settings.console.url}/health", CONSOLE_SECONDS) == 200


def responds(url: str) -> bool:
    """Whether a server responds there without a server error; True for an empty URL."""
    status = _status(url, SECONDS) if url else 200
    return status is not None and status < 500


def fetch(url: str, seconds: float = SECONDS) -> httpx.Response | None:
    """Response to a GET; None when nobody responds in time."""
    with suppress(httpx.TransportError):
        # All these URLs are plain HTTP; to load the certificates would take 50 ms each time.
        return httpx.get(url, timeout=seconds, verify=False)  # noqa: S501
    return None


def _status(url: str, seconds: float) -> int | None:
    response = fetch(url, seconds)
    return None if response is None else response.status_code
