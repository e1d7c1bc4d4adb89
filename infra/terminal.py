"""Output to a terminal: consoles, a line of progress, and clean ends by signals."""

# ruff: noqa: PLC0415 - Rich is imported when something is printed
from __future__ import annotations

import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

REPEAT_SECONDS = 30.0
POLL_SECONDS = 0.5


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


def is_animated() -> bool:
    """Whether standard error is a terminal that can rewrite a line.

    Rich takes a log for one where FORCE_COLOR or the like is set, and a spinner floods it.
    """
    out = error_console()
    return out.file.isatty() and out.is_terminal and not out.is_dumb_terminal


@contextmanager
def progress(step: str) -> Iterator[Callable[[str], None]]:
    """Show the latest step in one line of a terminal; elsewhere print a line a stage.

    A step that differs from the one before it by numbers alone is the same stage. A stage that
    lasts is printed again with its newest step after 30 seconds, one minute, two, and so on.

    Yields:
        A function that takes the next step.
    """
    if is_animated():
        with error_console().status(step) as line:
            yield line.update
        return
    stages = _Stages()
    stages.show(step)
    thread = threading.Thread(target=stages.repeat, name="progress", daemon=True)
    thread.start()
    try:
        yield stages.show
    finally:
        stages.over.set()
        thread.join()


class _Stages:
    """Prints a line for each stage."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self._lock = threading.Lock()
        self._step = self._stage = ""
        self._begun, self._pause = 0.0, REPEAT_SECONDS

    def show(self, step: str) -> None:
        """Take the next step; print it if it begins a stage."""
        stage = re.sub(r"\d[\d,.]*", "#", step)
        with self._lock:
            self._step = step
            if stage != self._stage:
                self._stage, self._begun, self._pause = stage, time.monotonic(), REPEAT_SECONDS
                self._print(step)

    def repeat(self) -> None:
        """Print the step of a stage that lasts, until it is over."""
        while not self.over.wait(POLL_SECONDS):
            with self._lock:
                seconds = time.monotonic() - self._begun
                if seconds >= self._pause:
                    self._pause *= 2
                    self._print(f"{self._step} ({seconds:.0f} s)")

    def _print(self, text: str) -> None:
        error_console().print(text, style="dim", markup=False, highlight=False, soft_wrap=True)


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
