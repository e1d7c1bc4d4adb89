"""Whether the HTTP processes of a deployment do their work, and where they listen."""

from __future__ import annotations

from contextlib import closing
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

from conf.settings import Settings

SECONDS = 2.0
CONSOLE_SECONDS = 5.0  # it queries Postgres before it responds


def gateway_ready(settings: Settings) -> bool:
    """Whether the gateway responds and reaches its broker."""
    return _status(settings.gateway.url + "/ready", SECONDS) == 200


def console_ready(settings: Settings) -> bool:
    """Whether the console responds, with or without its database."""
    return _status(f"{settings.console.url}/health", CONSOLE_SECONDS) == 200


def responds(url: str) -> bool:
    """Whether a server responds there without a server error; True for an empty URL."""
    status = _status(url, SECONDS) if url else 200
    return status is not None and status < 500


def fetch(url: str, seconds: float = SECONDS) -> tuple[int, str] | None:
    """Status and body of the response to a GET; None when nobody responds in time.

    Args:
        url: of plain HTTP on this machine; httpx would take 60 ms of CPU to be imported.
        seconds: for each of connecting and reading.
    """
    place = urlsplit(url)
    with closing(HTTPConnection(place.netloc, timeout=seconds)) as connection:
        try:
            connection.request("GET", place.path or "/")
            response = connection.getresponse()
            return response.status, response.read().decode(errors="replace")
        except (OSError, HTTPException):
            return None


def _status(url: str, seconds: float) -> int | None:
    response = fetch(url, seconds)
    return None if response is None else response[0]
