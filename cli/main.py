"""The entry point: registers the commands and turns expected errors into one sentence.

A new command is a function in a module of its own, and an entry in `SECTIONS`. The modules are
imported at once, so they keep heavy imports inside the function.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NoReturn

import typer

from cli import (
    alerts,
    backfill,
    background,
    check,
    console,
    contracts,
    dlq,
    doctor,
    gateway,
    history,
    import_orders,
    infer,
    keep,
    keys,
    logs,
    maintain,
    migrate,
    models,
    prepare,
    privacy,
    quality,
    replay,
    reset,
    restate,
    retention,
    run,
    seed,
    send,
    shop,
    sql,
    status,
    up,
    zones,
)
from cli.app import new_app, options
from conf.errors import StorelakeError
from infra.terminal import error_console

SECTIONS: dict[str, tuple[Callable[..., None] | typer.Typer, ...]] = {
    "Run": (
        up.up,
        up.down,
        up.restart,
        status.status,
        logs.logs,
        background.start,
        background.stop,
        doctor.doctor,
        run.run,
        gateway.gateway,
        console.console,
    ),
    "Orders": (send.send, seed.seed, import_orders.app, dlq.app, contracts.app),
    "Cameras": (infer.infer, replay.replay, shop.app, zones.app, models.app),
    "Lake": (
        sql.sql,
        sql.ask,
        history.history,
        restate.restate,
        backfill.backfill,
        maintain.maintain,
        retention.app,
        privacy.app,
    ),
    "Quality": (quality.app, check.check),
    "Operate": (
        alerts.app,
        keys.app,
        prepare.prepare,
        migrate.migrate,
        reset.reset,
        run.spark_conf,
    ),
}

app = new_app(
    "storelake",
    "A retail lakehouse on one machine: cameras and tills meet in the conversion rate.",
)
app.callback()(options)
for section, commands in SECTIONS.items():
    for command in commands:
        if isinstance(command, typer.Typer):
            app.add_typer(command, rich_help_panel=section)
        else:
            app.command(rich_help_panel=section)(command)
app.command(hidden=True)(keep.keep)


def main() -> None:
    """Run the command line.

    Exit codes: 0 done, 1 an expected error (one sentence on standard error), 2 wrong usage,
    130 Ctrl-C.
    """
    os.umask(0o077)  # files and sockets are for their owner only, those of child processes, too
    try:
        app()
    except StorelakeError as error:
        _fail(str(error))
    except OSError as error:
        if error.filename is None:
            raise
        _fail(f"{error.filename} cannot be used: {error.strerror}.")
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(sentence: str) -> NoReturn:
    error_console().print(sentence, style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
