"""`storelake alerts`: what is wrong now, and whether the receivers can be reached."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.app import new_app
from cli.context import read_settings
from infra.terminal import console

if TYPE_CHECKING:
    from dashboard.alerts import Alert

app = new_app("alerts", "What is wrong now, and who is sent it.")


@app.command("list")
def list_alerts(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what is wrong now, with what to do.

    Exit code 3 if anything is.
    """
    from dashboard.alert_sender import read_alerts

    alerts = read_alerts(read_settings())
    if as_json:
        import json
        from dataclasses import asdict

        typer.echo(json.dumps([asdict(alert) for alert in alerts], indent=2, default=str))
    else:
        _print(alerts)
    if alerts:
        raise typer.Exit(3)


def _print(alerts: list[Alert]) -> None:
    from rich.text import Text

    from dashboard.alert_messages import one_line

    out = console()
    if not alerts:
        out.print("Nothing is wrong; all that is watched was read.", highlight=False)
    for alert in alerts:
        colour = "red" if alert.severity == "critical" else "yellow"
        head = Text(f"{alert.severity:8} ", style=colour) + Text(alert.name, style="bold")
        out.print(head, one_line(alert.subject), soft_wrap=True, markup=False, highlight=False)
        for line in (alert.summary, alert.action):
            out.print(f"         {one_line(line)}", soft_wrap=True, markup=False, highlight=False)


@app.command()
def test() -> None:
    """Send a test alert to each receiver that is configured."""
    from conf.errors import StorelakeError
    from dashboard.alert_sender import send_test

    failed = False
    for name, error in send_test(read_settings()):
        failed |= error is not None
        console().print(f"{name}: {error or 'has it'}", markup=False, highlight=False)
    if failed:
        raise StorelakeError("A receiver did not accept the test alert: check its settings.")
