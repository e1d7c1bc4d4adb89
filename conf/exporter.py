"""HTTP server from which Prometheus reads the metrics of a process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, make_wsgi_app, start_http_server

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

log = logging.getLogger(__name__)


@contextmanager
def served(
    registry: CollectorRegistry,
    host: str,
    port: int,
    setting: str,
    wrap: Callable[[WSGIApplication], WSGIApplication] = lambda metrics: metrics,
) -> Iterator[None]:
    """Answer at ``http://<host>:<port>/metrics`` inside the block; with port 0 do not.

    `wrap` makes an application that serves more than the metrics.
    A port that is taken costs the metrics, with a warning, and not the work that they are about.
    """
    running = None
    try:
        if port:
            running = start_http_server(port, host, registry)
            running[0].set_app(wrap(make_wsgi_app(registry)))
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
