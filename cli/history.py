"""`storelake history`: the moments at which a table of the lake can be read."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from typing import Annotated

import typer

from cli.context import read_settings
from infra.terminal_table import TextTable


def history(
    table: Annotated[str, typer.Argument(help="Its name, such as silver.orders.")],
) -> None:
    """List the tags of a table, which `sql` and `ask` take with `--at`."""
    from queries.lake import open_shelf
    from queries.references import tags
    from streaming.lake.formats import require_iceberg

    settings = read_settings()
    require_iceberg(settings, "A history of tags")
    with open_shelf(settings) as shelf:
        found = tags(shelf.table(table))
    rows = [(tag.name, f"{tag.committed_at:%Y-%m-%d %H:%M:%S}Z", str(tag.rows)) for tag in found]
    TextTable(("tag", "committed", "rows"), rows, numbers=("rows",)).show()
