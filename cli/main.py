"""The entry point: registers the commands and turns expected errors into one sentence.

A new command is a function in a module of its own, and one more line in `COMMANDS`. The modules
are imported at once, so they keep heavy imports inside the function.
"""

from __future__ import annotations

import sys

import typer

from cli import (
    backfill,
    background,
    check,
    console,
    contracts,
    dlq,
    gateway,
    infer,
    keep,
    logs,
    maintain,
    migrate,
    prepare,
    quality,
    replay,
    reset,
    restate,
    retention,
    run,
    send,
    shop,
    sql,
    status,
    up,
    zones,
)
from conf.errors import StorelakeError
from conf.terminal import error_console

COMMANDS = (
    up.up,
    up.down,
    up.restart,
    status.status,
    logs.logs,
    reset.reset,
    migrate.migrate,
    prepare.prepare,
    run.run,
    run.spark_conf,
    gateway.gateway,
    console.console,
    background.start,
    background.stop,
    infer.infer,
    replay.replay,
    send.send,
    restate.restate,
    sql.sql,
    sql.ask,
    backfill.backfill,
    maintain.maintain,
    check.check,
)

app = typer.Typer(
    name="storelake",
    help="A retail lakehouse on one machine: cameras and tills meet in the conversion rate.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # Importing Rich for the help alone would take half a second.
    pretty_exceptions_enable=False,
)
for command in COMMANDS:
    app.command()(command)
app.command(hidden=True)(keep.keep)
app.add_typer(dlq.app)
app.add_typer(contracts.app)
app.add_typer(shop.app)
app.add_typer(zones.app)
app.add_typer(retention.app)
app.add_typer(quality.app)


def main() -> None:
    """Run the command line.

    Exit codes: 0 done, 1 an expected error (one sentence on standard error), 2 wrong usage,
    130 Ctrl-C.
    """
    try:
        app()
    except StorelakeError as error:
        error_console().print(
            str(error), style="red", markup=False, highlight=False, soft_wrap=True
        )
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
