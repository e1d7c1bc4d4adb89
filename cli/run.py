"""`storelake run` and what `spark-submit` needs."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from typing import Annotated

import typer

from cli.context import Profile, read_settings


def run(
    names: Annotated[
        list[str] | None, typer.Argument(help="Streams to run; all without one.")
    ] = None,
    profile: Profile = None,
    take_over: Annotated[
        bool,
        typer.Option(
            "--take-over",
            help="Take over streams that another application writes; that one ends.",
        ),
    ] = False,
) -> None:
    """Run streams in one Spark application until Ctrl-C or SIGTERM."""
    import logging

    from conf.logs import configure_logging

    settings = read_settings(profile)
    if take_over:
        streams = settings.streams.model_copy(update={"take_over": True})
        settings = settings.model_copy(update={"streams": streams})
    configure_logging("streams", settings.log_level)
    logging.getLogger("py4j").setLevel(logging.CRITICAL)  # the runner logs what failed
    from infra.local.checks import find_java
    from infra.local.process import step_back
    from streaming.runtime.launch import begin_launch
    from streaming.runtime.session import launch_conf

    find_java(settings.java_home)  # in one sentence; Spark would give a traceback
    step_back(settings.streams.niceness)  # before the JVM starts, which inherits it
    begin_launch(launch_conf(settings))  # the rest is imported meanwhile
    from streaming.jobs import find_streams
    from streaming.runtime.submit import run_streams

    run_streams(settings, find_streams(tuple(names or ())))


def spark_conf() -> None:
    """Print properties for spark-submit, without secrets."""
    from streaming.runtime.session import launch_conf

    for key, value in launch_conf(read_settings()).items():
        typer.echo(f"{key} {value}")
