"""`storelake migrate`."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from cli.context import read_settings
from infra.terminal import console


def migrate() -> None:
    """Apply new migrations of the database; `up` does so, too."""
    from infra.postgres.migrate import migrate as apply

    applied = apply(read_settings())
    console().print(f"Applied {', '.join(applied)}." if applied else "Everything is up to date.")
