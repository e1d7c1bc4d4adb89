"""`python -m verification.faults`: what `make verify-faults` runs."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from conf.errors import StorelakeError
from conf.outages import clear_outages
from conf.settings import load_settings
from conf.terminal import console, error_console, progress
from verification.faults.plan import FAULTS, chosen
from verification.faults.report import tables
from verification.faults.run import verify


def main(
    *,
    only: Annotated[
        list[str] | None, typer.Option(help="Names of faults; again for each. All without it.")
    ] = None,
    rate: Annotated[float, typer.Option(min=60, help="Order events a minute.")] = 600,
    seed: Annotated[int, typer.Option(min=0, help="Of orders and odd messages.")] = 1,
    listing: Annotated[bool, typer.Option("--list", help="Print the faults, and end.")] = False,
) -> None:
    """Kill and hang each process once, under load, and compare ids in with ids out.

    Exit code 1, and one sentence for each difference, when anything does not hold. The last line
    is JSON.
    """
    if listing:
        for fault in FAULTS:
            typer.echo(f"{fault.name:26} {fault.title}")
        return
    out = error_console()
    try:
        faults = chosen(only or ())
        with progress("a fresh deployment") as tell, clear_outages():
            show = lambda line: out.print(line, markup=False, highlight=False, soft_wrap=True)  # noqa: E731
            content = verify(load_settings(), faults, rate=rate, seed=seed, tell=tell, show=show)
    except StorelakeError as error:
        out.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
    for table in tables(content):
        console().print(table)
    for difference in content["differences"]:
        console().print(f"differs: {difference}", style="red", markup=False, soft_wrap=True)
    typer.echo(json.dumps(content))
    if not content["ok"]:
        raise typer.Exit(1)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)
    app.command()(main)
    app()
