"""Tables of the commands: no id, name, number or time is ever broken or cut.

A table that is wider than the terminal wraps prose at spaces, the widest columns first. Where that
does not suffice, each row becomes a block with a line for each column. Where standard output is no
terminal, nothing is wrapped and each row is one line.
"""

# ruff: noqa: PLC0415 - Rich is imported when something is printed
from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Literal

from infra.terminal import console, printable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.text import Text

GAP = 2
"""Spaces between two columns."""
LEFT = (False, False)


@dataclass(frozen=True)
class TextTable:
    """Rows for people, which Rich can print.

    Attributes:
        names: of the columns.
        rows: a cell for each column: text, or styled text of Rich.
        numbers: columns that are justified right.
        prose: columns that may be wrapped at spaces.
        title: a line above the table.
    """

    names: Sequence[str]
    rows: Sequence[Sequence[str | Text]]
    numbers: Collection[str] = ()
    prose: Collection[str] = ()
    title: str | Text = ""

    def show(self) -> None:
        """Print it on standard output."""
        console().print(self, crop=False)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        if self.title:
            yield _text(self.title)
        heads = [_text(name, "bold") for name in self.names]
        rows = [[_text(cell) for cell in row] for row in self.rows]
        widths = self._widths([heads, *rows], options.max_width if console.is_terminal else None)
        if widths is None:
            yield from _blocks(console, heads, rows, options.max_width)
            return
        right = [name in self.numbers for name in self.names]
        for row in (heads, *rows):
            yield from _side_by_side(console, row, widths, right)

    def _widths(self, lines: Sequence[Sequence[Text]], room: int | None) -> list[int] | None:
        """Width of each column; None where parts do not fit side by side."""
        columns = list(zip(*lines, strict=True))
        natural = [max(cell.cell_len for cell in column) for column in columns]
        if room is None:
            return natural
        least = [self._least(*column) for column in columns]
        room -= GAP * (len(columns) - 1)
        for cap in range(max(natural), 0, -1):
            widths = [max(low, min(full, cap)) for low, full in zip(least, natural, strict=True)]
            if sum(widths) <= room:
                return widths
        return None

    def _least(self, head: Text, *cells: Text) -> int:
        wraps = head.plain in self.prose
        widths = (_longest_part(cell) if wraps else cell.cell_len for cell in cells)
        return max([_longest_part(head), *widths])


def _blocks(
    console: Console, heads: Sequence[Text], rows: Sequence[Sequence[Text]], room: int
) -> Iterator[Text]:
    """Names beside values, or above them where they do not fit; empty values are left out."""
    widest = max(head.cell_len for head in heads)
    longest = max((_longest_part(cell) for row in rows for cell in row), default=0)
    beside = widest + GAP + longest <= room
    for row in rows:
        for head, cell in zip(heads, row, strict=True):
            if cell and beside:
                yield from _side_by_side(console, [head, cell], [widest, room - widest - GAP])
            elif cell:
                yield head
                yield from _side_by_side(console, [_text(""), cell], [0, max(room - GAP, longest)])
        yield _text("")


def _side_by_side(
    console: Console, cells: Sequence[Text], widths: Sequence[int], right: Sequence[bool] = LEFT
) -> Iterator[Text]:
    """Lines of cells that are wrapped at spaces, each to its width."""
    columns = [
        _wrapped(console, cell, width, "right" if to_right else "left")
        for cell, width, to_right in zip(cells, widths, right, strict=False)
    ]
    blanks = [_text(" " * width) for width in widths]
    for parts in zip_longest(*columns):
        filled = (part or blank for part, blank in zip(parts, blanks, strict=True))
        line = _text(" " * GAP).join(filled)
        line.rstrip()
        line.no_wrap, line.overflow = True, "ignore"
        yield line


def _wrapped(
    console: Console, cell: Text, width: int, justify: Literal["left", "right"]
) -> list[Text]:
    if cell.cell_len > width:
        return list(cell.wrap(console, width, justify=justify, overflow="crop"))
    filled = cell.copy()
    filled.align(justify, width)
    return [filled]


def _text(cell: str | Text, style: str = "") -> Text:
    from rich.text import Text

    if isinstance(cell, str):
        return Text(printable(cell).replace("\n", r"\n"), style)
    return cell


def _longest_part(cell: Text) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, cell.plain.split(" ")))
