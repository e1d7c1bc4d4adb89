"""HTTP server from which Prometheus reads the metrics of a process."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server

log = logging.getLogger(__name__)


@contextmanager
def served(registry: CollectorRegistry, host: str, port: int, setting: str) -> Iterator[None]:
    """Answer at ``http://<host>:<port>/metrics`` inside the block; with port 0 do not.

    A port that is taken costs the metrics, with a warning, and not the work that they are about.
    """
    running = None
    try:
        if port:
            running = start_http_server(port, host, registry)
    except OSError as error:
        log.warning(
            "no metrics: port %d of %s cannot be opened (%s); %s names another one, and 0 none",
            port,
            host,
            error.strerror,
            setting,
        )
    try:
        yield
    finally:
        if running is not None:
            server, thread = running
            server.shutdown()
            server.server_close()
            thread.join()
