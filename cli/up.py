"""`storelake up`, `down` and `restart`."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from cli.context import console, progress, read_settings
from cli.tables import services_table


def up() -> None:
    """Start Kafka and Postgres on this machine; what runs already is left alone."""
    from infra import local

    settings = read_settings()
    with progress("starting") as report:
        statuses = local.up(settings, report)
    console().print(services_table(statuses))


def down() -> None:
    """Stop the services that `up` started; their data stays."""
    from infra import local

    settings = read_settings()
    with progress("stopping"):
        stopped = local.down(settings)
    console().print(f"Stopped {' and '.join(stopped)}." if stopped else "Nothing was running.")


def restart() -> None:
    """Stop the services, then start them again."""
    down()
    up()
