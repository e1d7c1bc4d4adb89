"""`storelake prepare`: provision services that run elsewhere."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import read_settings
from conf.outages import clear_outages
from infra.terminal import console, progress

if TYPE_CHECKING:
    from conf.settings import Settings


def prepare(
    rewrite: Annotated[
        bool,
        typer.Option("--rewrite-tables", help="Give tables of an older release the new types."),
    ] = False,
    acls: Annotated[
        bool,
        typer.Option("--kafka-acls", help="Print our rights at Kafka for `kafka-acls.sh`, alone."),
    ] = False,
) -> None:
    """Create topics, bucket and tables where they are missing.

    For services that run already, in containers or elsewhere; on this machine `up` does it. It
    can be run again at any time: what exists is kept.
    """
    from infra import local
    from streaming.lake.formats import create_tables, rewrite_tables
    from streaming.runtime.session import build_session

    settings = read_settings()
    if acls:
        _print_acls(settings)
        return
    with progress("preparing") as report, clear_outages():
        local.provision(settings, report)
        report("namespaces and tables of the lake")
        spark = build_session(settings, "storelake:prepare")
        try:
            if rewrite:
                report("types of the lake's tables")
                rewrite_tables(spark, settings)
            create_tables(spark, settings)
        finally:
            spark.stop()
    console().print("Topics, bucket, tables and namespaces are there.")


def _print_acls(settings: Settings) -> None:
    from infra.local.kafka_access import kafka_acls

    for arguments in kafka_acls(settings.kafka):
        typer.echo(arguments)
