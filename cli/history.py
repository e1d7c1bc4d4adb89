"""`storelake history`: the moments at which a table of the lake can be read."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from typing import Annotated

import typer

from cli.context import read_settings
from infra.terminal import console


def history(
    table: Annotated[str, typer.Argument(help="Its name, such as silver.orders.")],
) -> None:
    """List the tags of a table, which `sql` and `ask` take with `--at`."""
    from rich.table import Table

    from queries.lake import open_shelf
    from queries.references import tags
    from streaming.lake.formats import require_iceberg

    settings = read_settings()
    require_iceberg(settings, "A history of tags")
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("tag", "committed", "rows"):
        shown.add_column(name, justify="right" if name == "rows" else "left", no_wrap=True)
    with open_shelf(settings) as shelf:
        for tag in tags(shelf.table(table)):
            shown.add_row(tag.name, f"{tag.committed_at:%Y-%m-%d %H:%M:%S}Z", str(tag.rows))
    console().print(shown)
