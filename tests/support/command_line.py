"""The command line, without running a command."""

from __future__ import annotations

from collections.abc import Iterable

import typer

from cli.main import app


def parse(words: Iterable[str]) -> None:
    """Raise click's error for a command or an option that the command line does not have."""
    command, rest = typer.main.get_command(app), list(words)
    while hasattr(command, "resolve_command"):
        with command.make_context("storelake", rest[:1], resilient_parsing=True) as context:
            _, command, rest = command.resolve_command(context, rest)
    if "--help" not in rest:
        command.make_context("storelake", rest).close()
