"""`storelake console`: serve the live console."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import read_settings
from infra.terminal import error_console

if TYPE_CHECKING:
    from conf.settings import Settings


def console(
    *,
    host: Annotated[str | None, typer.Option(help="Address; else the setting (loopback).")] = None,
    port: Annotated[int | None, typer.Option(help="Port; else the setting.")] = None,
    link: Annotated[
        bool, typer.Option("--link", help="Print a link that signs in once; serve nothing.")
    ] = False,
) -> None:
    """Serve the live console until Ctrl-C or SIGTERM."""
    from dashboard.tickets import sign_in_url

    settings = read_settings()
    chosen = {"host": host or settings.console.host, "port": port or settings.console.port}
    console = settings.console.model_copy(update=chosen)
    settings = settings.model_copy(update={"console": console})
    if link:
        typer.echo(sign_in_url(settings))
        return
    _serve(settings)


def _serve(settings: Settings) -> None:
    from conf.logs import configure_logging
    from dashboard.app import create_app
    from infra.http_server import HttpServer, end_well_on_sigterm
    from infra.local.checks import require_free_port

    console = settings.console
    require_free_port(console.host, console.port, "the console", "STORELAKE_CONSOLE__PORT")
    configure_logging("console", settings.log_level)
    app = create_app(settings)
    _print_address(settings)
    end_well_on_sigterm()
    # Open pages would hold it for ever, so it stops after two seconds.
    HttpServer(app, settings.http, [(console.host, console.port)], 2).serve_until_stopped()


def _print_address(settings: Settings) -> None:
    """Print the URL, and a warning when Postgres rejects the console."""
    import psycopg

    from dashboard.reader import check_connection
    from dashboard.tickets import shown_url

    out = error_console()
    out.print(f"Console: {shown_url(settings, out)}", highlight=False, soft_wrap=True)
    try:
        check_connection(settings.console_dsn)
    except psycopg.OperationalError as error:
        reason = " ".join(str(error).split())
        out.print(
            f"Postgres does not let the console in ({reason}): see `storelake status`, and "
            "docs/CONSOLE.md for the role. The console shows this, too, and keeps trying.",
            style="yellow",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
