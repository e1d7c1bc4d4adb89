"""Markdown tables of the generated pages."""

from __future__ import annotations

from collections.abc import Sequence


def table_lines(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table; a `|` in a cell is escaped."""
    cells = [
        f"| {' | '.join(c.replace('|', chr(92) + '|') for c in row)} |" for row in [titles, *rows]
    ]
    return [cells[0], f"|{'---|' * len(titles)}", *cells[1:]]
