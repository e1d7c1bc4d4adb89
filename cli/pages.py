"""Pages of the documentation about the command line, made from it."""

# ruff: noqa: PLC0415 - the command line imports this module
from __future__ import annotations

CLI_HEAD = """\
# Command line

What `storelake COMMAND --help` says, of all commands. Expected errors are one sentence on standard
error and exit code 1; wrong usage is 2, Ctrl-C is 130.

"""


def cli_page() -> str:
    """The page of all commands, by Typer's own writer of documentation."""
    from typing import Any

    from typer.cli import get_docs_for_click
    from typer.main import get_command

    from cli.main import app

    command = get_command(app)
    context: Any
    with command.make_context("storelake", [], resilient_parsing=True) as context:
        text = get_docs_for_click(obj=command, ctx=context, name="storelake")
    body = text.split("\n", 2)[2].strip()  # Its title is the page's.
    return CLI_HEAD + "\n".join(_plain(line) for line in body.splitlines()) + "\n"


def _plain(line: str) -> str:
    """`<var>` in a sentence is no tag; between backticks it is as it should be."""
    parts = line.split("`")
    return "`".join(p if i % 2 else p.replace("<", "&lt;") for i, p in enumerate(parts))
