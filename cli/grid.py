"""Tables in Markdown, for the pages that are made from code."""

from __future__ import annotations

from collections.abc import Sequence


def grid(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    cells = [titles, ["---"] * len(titles), *rows]
    return [f"| {' | '.join(c.replace('|', chr(92) + '|') for c in row)} |" for row in cells]
