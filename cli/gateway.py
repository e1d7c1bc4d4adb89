"""`storelake gateway`: serve the HTTP door."""

from __future__ import annotations

from typing import Annotated

import typer

from conf.settings import load_settings


def gateway(
    host: Annotated[str | None, typer.Option(help="Address; loopback by default.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; from the settings by default.")] = None,
) -> None:
    """Serve the order gateway with one worker until SIGTERM, then flush and end."""
    # Imported here: FastAPI costs half a second, which `storelake --help` need not pay.
    import uvicorn  # noqa: PLC0415

    from gateway.app import create_app  # noqa: PLC0415
    from gateway.observe import configure_logging  # noqa: PLC0415

    settings = load_settings()
    configure_logging(settings.log_level)
    uvicorn.run(
        create_app(settings),
        host=host or settings.gateway.host,
        port=port or settings.gateway.port,
        log_config=None,  # its lines join ours, as JSON
        access_log=False,  # gateway.observe writes one line per request
        server_header=False,
        timeout_graceful_shutdown=int(settings.gateway.ack_timeout_seconds) + 1,
    )
