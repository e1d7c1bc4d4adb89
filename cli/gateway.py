"""`storelake gateway`: serve the HTTP gateway of orders."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Annotated, NoReturn

import typer

from cli.context import read_settings


def gateway(
    *,
    host: Annotated[str | None, typer.Option(help="Address; else the setting (loopback).")] = None,
    port: Annotated[int | None, typer.Option(help="Port; else the setting.")] = None,
) -> None:
    """Serve the order gateway until Ctrl-C or SIGTERM."""
    import uvicorn

    from conf.logs import configure_logging
    from gateway.app import create_app
    from infra.local.checks import require_free_port

    settings = read_settings()
    host, port = host or settings.gateway.host, port or settings.gateway.port
    require_free_port(host, port, "the gateway", "STORELAKE_GATEWAY__PORT")
    configure_logging("gateway", settings.log_level)
    # uvicorn ends in order first, and then raises the signal again for the earlier handler.
    signal.signal(signal.SIGTERM, end_well)
    uvicorn.run(
        create_app(settings),
        host=host,
        port=port,
        log_config=None,  # its lines join ours, as JSON
        access_log=False,  # gateway.observe writes one line per request
        server_header=False,
        proxy_headers=False,  # uvicorn believes any local process; see gateway.addresses
        timeout_graceful_shutdown=int(settings.gateway.ack_timeout_seconds) + 1,
    )


def end_well(_signal: int, _frame: FrameType | None) -> NoReturn:
    """End with exit code 0: a signal to stop is no error."""
    sys.exit(0)
