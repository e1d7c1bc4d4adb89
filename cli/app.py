"""The Typer applications: help in sections and plain text, `-h` beside `--help`, `--version`."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

SUMMARY = 120
"""Characters that a list of commands shows of each help."""


class SectionedGroup(TyperGroup):
    """A group whose help lists its commands by section (their `rich_help_panel`).

    Typer shows these sections only with Rich, whose import alone takes half a second.
    """

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - of the base
        """Write a list of commands for each section, in the order of their registration."""
        shown = {name: one for name, one in self.commands.items() if not one.hidden}
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, one in shown.items():
            title = getattr(one, "rich_help_panel", None) or "Commands"
            sections.setdefault(title, []).append((name, one.get_short_help_str(SUMMARY)))
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows, col_max=max(map(len, shown)))


def new_app(name: str, text: str) -> typer.Typer:
    """A Typer application without Rich.

    Args:
        name: of the command.
        text: its help.
    """
    return typer.Typer(
        name=name,
        help=text,
        cls=SectionedGroup,
        context_settings={"help_option_names": ["-h", "--help"]},
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 - only here

        typer.echo(f"storelake {version('storelake')}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option(
        "--version", is_eager=True, callback=_print_version, help="Print the version and exit."
    ),
]


def options(version: Version = False) -> None:
    """Options of `storelake` itself."""
