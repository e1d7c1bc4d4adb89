"""`storelake gateway`: serve the HTTP gateway of orders."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from typing import Annotated

import typer

from cli.context import read_settings

HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
"""Of every answer: no browser or proxy keeps one, or takes it for something else."""


def gateway(
    *,
    host: Annotated[str | None, typer.Option(help="Address; else the setting (loopback).")] = None,
    port: Annotated[int | None, typer.Option(help="Port; else the setting.")] = None,
) -> None:
    """Serve the order gateway until Ctrl-C or SIGTERM."""
    from conf.logs import configure_logging
    from conf.settings import SettingsError
    from gateway.app import create_app
    from infra.http_server import HttpServer, end_well_on_sigterm
    from infra.local.checks import require_free_port

    settings = read_settings()
    chosen = {"host": host or settings.gateway.host, "port": port or settings.gateway.port}
    gateway = settings.gateway.model_copy(update=chosen)
    settings = settings.model_copy(update={"gateway": gateway})
    require_free_port(gateway.host, gateway.port, "the gateway", "STORELAKE_GATEWAY__PORT")
    addresses = [(gateway.host, gateway.port)]
    if gateway.operations_port == gateway.port:
        raise SettingsError(
            f"Port {gateway.port} is that of the gateway and of its operations: set "
            "STORELAKE_GATEWAY__OPERATIONS_PORT to another one, or to 0 for none."
        )
    if gateway.operations_port:
        addresses.append((gateway.operations_host, gateway.operations_port))
        require_free_port(*addresses[1], "its operations", "STORELAKE_GATEWAY__OPERATIONS_PORT")
    configure_logging("gateway", settings.log_level)
    stop_seconds = int(gateway.ack_timeout_seconds) + 1
    end_well_on_sigterm()
    server = HttpServer(create_app(settings), settings.http, addresses, stop_seconds, HEADERS)
    server.serve_until_stopped()
