"""Output to a terminal: consoles, a line of progress, and clean ends by signals."""

# ruff: noqa: PLC0415 - Rich is imported when something is printed
from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


@cache
def console() -> Console:
    """Standard output, for results; a line is wrapped only where a person reads it."""
    from rich.console import Console

    return Console(soft_wrap=not sys.stdout.isatty())


@cache
def error_console() -> Console:
    """Standard error, for progress and errors, so that results can be piped."""
    from rich.console import Console

    return Console(stderr=True, soft_wrap=not sys.stderr.isatty())


@contextmanager
def progress(step: str) -> Iterator[Callable[[str], None]]:
    """Show the latest step in one line of a terminal; elsewhere print a line for each new step.

    Yields:
        A function that takes the next step.
    """
    out = error_console()
    if out.is_terminal:
        with out.status(step) as line:
            yield line.update
        return
    printed = ""

    def show(text: str) -> None:
        nonlocal printed
        if text != printed:
            printed = text
            out.print(text, style="dim", highlight=False)

    yield show


def printable(text: str) -> str:
    """Text whose control characters, which could move a cursor or hide text, are escapes."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


def and_list(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


@contextmanager
def one_interrupt() -> Iterator[None]:
    """Raise KeyboardInterrupt at the first SIGINT or SIGTERM of a block; ignore further ones."""

    def interrupt(*_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    with on_signals(interrupt):
        yield


@contextmanager
def on_signals(
    handler: Callable[..., object], numbers: Sequence[int] = (signal.SIGINT, signal.SIGTERM)
) -> Iterator[None]:
    """Handle these signals in a block, by default SIGINT and SIGTERM, and as before after it."""
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
