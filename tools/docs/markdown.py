"""Generated pages: Jinja templates in `templates/`, with Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(page: str, **values: Any) -> str:
    """The text of docs/<page>.md, without the notice that it is generated."""
    return _TEMPLATES.get_template(f"{page}.md.j2").render(**values)


def code(names: Iterable[str]) -> str:
    """Names as code, with commas between."""
    return ", ".join(f"`{name}`" for name in names)


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a `|` in a cell is escaped."""
    cells = [
        f"| {' | '.join(c.replace('|', chr(92) + '|') for c in row)} |" for row in [titles, *rows]
    ]
    return "\n".join([cells[0], f"|{'---|' * len(titles)}", *cells[1:]])


_TEMPLATES = Environment(
    loader=PackageLoader("tools.docs"),
    autoescape=False,  # noqa: S701 - Markdown made of this repository's texts
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_TEMPLATES.globals.update(code=code, table=table)
