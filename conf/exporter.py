"""HTTP server from which Prometheus reads the metrics of a process."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, start_http_server

if TYPE_CHECKING:
    from threading import Thread
    from wsgiref.simple_server import WSGIServer

log = logging.getLogger(__name__)


@contextmanager
def served(registry: CollectorRegistry, host: str, port: int, setting: str) -> Iterator[None]:
    """Answer at ``http://<host>:<port>/metrics`` inside the block; with port 0 do not.

    A port that is taken costs the metrics, with a warning, and not the work that they are about.
    """
    running = _serve(registry, host, port, setting) if port else None
    try:
        yield
    finally:
        if running is not None:
            server, thread = running
            server.shutdown()
            server.server_close()
            thread.join()


def _serve(
    registry: CollectorRegistry, host: str, port: int, setting: str
) -> tuple[WSGIServer, Thread] | None:
    try:
        return start_http_server(port, host, registry)
    except OSError as error:
        log.warning(
            "no metrics: port %d of %s cannot be opened (%s); %s names another one, and 0 none",
            port,
            host,
            error.strerror,
            setting,
        )
        return None
