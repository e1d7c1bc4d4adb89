"""`storelake contracts`: whether a change of a contract breaks a consumer of the old one."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.app import new_app
from conf.errors import ContractError
from infra.terminal import console

app = new_app("contracts", "Contracts of events and tables: check changes of them.")


@app.callback()
def group() -> None:
    """Keeps `check` a command of its own while there is no second one."""


@app.command()
def check(
    against: Annotated[
        str | None,
        typer.Option(metavar="REF", help="A commit, tag or branch of git, or a folder."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="The contracts to check; else those of this checkout.")
    ] = None,
) -> None:
    """Compare the versions of each event, and every contract with an older state of itself.

    Ends with an error when a change breaks what others rely on.
    """
    from conf.contracts import FOLDER
    from conf.contracts.files import file_changes, parse, read_folder, read_git, version_changes

    new = parse(read_folder(folder or FOLDER))
    changes = list(version_changes(new))
    if against is not None:
        place = Path(against)
        old = read_folder(place) if place.is_dir() else read_git(FOLDER, against)
        changes += file_changes(parse(old, f", as {against} has it,"), new)
    for file, change in changes:
        if not change.breaking:
            line = f"{file}: {change.path} {change.sentence}"
            console().print(line, markup=False, highlight=False, soft_wrap=True)
    if broken := [f"- {file}: {c.path} {c.sentence}" for file, c in changes if c.breaking]:
        count = f"{len(broken)} change{'s' if len(broken) > 1 else ''}"
        raise ContractError(f"{count} would break a contract:\n" + "\n".join(broken))
    console().print(f"{len(new)} contracts: no change breaks one.", highlight=False)
