"""`storelake doctor`."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.context import Profile, read_settings
from infra.terminal import console

if TYPE_CHECKING:
    from infra.local.doctor import MachineCheck

STYLES = {"ok": "green", "warning": "yellow", "wrong": "red"}


def doctor(
    *,
    profile: Profile = None,
    form: Annotated[
        Literal["text", "json"], typer.Option("--format", help="Of the output.")
    ] = "text",
) -> None:
    """Check Java, ports, disk, memory, versions, rights and secrets; suggest what to do.

    Works before anything was downloaded or started. Exit code 1 when something must be mended.
    """
    from infra.local.doctor import examine

    findings = list(examine(read_settings(profile)))
    if form == "json":
        import json
        from dataclasses import asdict

        typer.echo(json.dumps([asdict(one) for one in findings], indent=2))
    else:
        for one in findings:
            _show(one)
    if any(one.state == "wrong" for one in findings):
        raise typer.Exit(1)


def _show(one: MachineCheck) -> None:
    from rich.text import Text

    line = Text.assemble((f"{one.state:<8}", STYLES[one.state]), f" {one.check:<20} {one.detail}")
    out = console()
    out.print(line, soft_wrap=True)
    if one.action:
        out.print(Text(f"{'':<9}what to do: {one.action}"), soft_wrap=True)
