"""`storelake prepare`: what the house needs on services that somebody else runs."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from cli.context import clear_outages, console, progress, read_settings


def prepare() -> None:
    """Make topics, bucket, tables of Postgres and of the lake where they are missing.

    For services that run already, in containers or elsewhere; here `up` does it. It can be run
    again at any time: what is there stays.
    """
    from infra import local
    from streaming.lake.formats import create_tables
    from streaming.session import build_session

    settings = read_settings()
    with progress("preparing") as tell, clear_outages():
        local.furnish(settings, tell)
        tell("namespaces and tables of the lake")
        spark = build_session(settings, "storelake:prepare")
        try:
            create_tables(spark, settings)
        finally:
            spark.stop()
    console().print("Topics, bucket, tables and namespaces are there.")
