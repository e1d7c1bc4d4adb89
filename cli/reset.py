"""`storelake reset`."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from typing import Annotated

import typer

from cli.background import stop_background
from cli.context import console, progress, read_settings


def reset(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Stop everything and delete all local data: topics, tables, files and checkpoints."""
    from infra import local

    settings = read_settings()
    if not yes:
        typer.confirm(f"Delete all data of storelake in {settings.var_dir}?", abort=True)
    with progress("deleting"):
        stop_background(settings)  # else the streams would write into what is being deleted
        deleted = local.reset(settings)
    names = ", ".join(folder.name for folder in deleted)
    console().print(f"Deleted {names}." if names else "There was nothing to delete.")
