"""`storelake reset`."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from cli.context import read_settings
from infra.terminal import and_list, console, progress

REPORTS = ("memory", "quality", "demo", "check", "films", "imports", "seed")
"""Folders that commands and streams write below the state folder, beside the services' data."""

REASONS = {
    "secrets.env": "its passwords are used again by the next `storelake up`",
    "logs": "they record what has happened until now",
    "verify": "`make verify-...` keeps a deployment of its own there, and deletes it itself",
}


def reset(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Stop everything and delete all local data.

    That is topics, tables, files, checkpoints and reports.

    Passwords and logs are kept, and what storelake did not create; the command lists both.
    """
    from infra import local
    from infra.local.background import stop_everything

    settings = read_settings()
    if not yes:
        typer.confirm(f"Delete all data of storelake in {settings.var_dir}?", abort=True)
    with progress("deleting"):
        stop_everything(settings)  # else the streams would write into what is being deleted
        deleted = [path.name for path in local.reset(settings, REPORTS)]
        if delete_state(settings.var_dir / "run"):
            deleted.append("run")
    console().print(
        f"Deleted {and_list(deleted)}." if deleted else "There was nothing to delete.",
        highlight=False,
    )
    for name in left_in(settings.var_dir):
        why = REASONS.get(name, "storelake did not create it")
        console().print(f"{name} is kept: {why}.", markup=False, highlight=False)


def delete_state(run: Path) -> bool:
    """Delete the state files of processes, which have ended; returns whether there were any.

    The empty lock files are kept, since another command may wait for one.
    """
    files = [path for path in run.glob("*") if path.suffix != ".lock"]
    for path in files:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return bool(files)


def left_in(var: Path) -> list[str]:
    """The names below the state folder that a reset leaves."""
    return sorted(path.name for path in var.glob("*") if path.name != "run")
