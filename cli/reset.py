"""`storelake reset`."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from cli.background import stop_everything
from cli.context import read_settings
from conf.terminal import and_list, console, progress

REPORTS = ("memory", "quality", "demo", "check", "films")
"""What commands and streams leave below the state folder beside the data of the services."""

KEPT = {
    "secrets.env": "its passwords are used again by the next `storelake up`",
    "logs": "they say what has happened until now",
    "verify": "`make verify-...` keeps a deployment of its own there, and deletes it itself",
}


def reset(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Stop everything and delete all local data: topics, tables, files, checkpoints and reports.

    Passwords and logs stay, and what storelake has not made; the command names what stays.
    """
    from infra import local

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
        why = KEPT.get(name, "storelake has not made it")
        console().print(f"{name} stays: {why}.", markup=False, highlight=False)


def delete_state(run: Path) -> bool:
    """Delete the state files of processes, which have ended; returns whether there were any.

    The empty lock files stay, since another command may wait for one.
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
