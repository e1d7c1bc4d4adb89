"""The Typer applications: help in sections and plain text, `-h` beside `--help`, `--version`."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

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


class FiniteCommand(TyperCommand):
    """A command that refuses `inf` and `nan`, which pass the bounds of an option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words; raises `BadParameter`."""
        rest = super().parse_args(ctx, args)
        param: Any
        for param in self.params:
            value = ctx.params.get(param.name)
            if isinstance(value, float) and not isfinite(value):
                raise typer.BadParameter(f"{value} is not a finite number", ctx, param)
        return rest


class _Application(typer.Typer):
    def command(self, name: str | None = None, **options: Any) -> Callable[[Any], Any]:
        return super().command(name, cls=FiniteCommand, **options)


def new_app(name: str, text: str) -> typer.Typer:
    """A Typer application without Rich.

    Args:
        name: of the command.
        text: its help.
    """
    return _Application(
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
