"""What every command shares: the settings and the two consoles.

Heavy imports stay inside the functions, so that `storelake --help` answers at once.
"""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from conf.settings import Settings


@cache
def console() -> Console:
    """Where results go: standard output."""
    from rich.console import Console

    return Console()


@cache
def error_console() -> Console:
    """Where progress and errors go: standard error, so that results can be piped."""
    from rich.console import Console

    return Console(stderr=True)


Profile = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="local, full, ...; by default what STORELAKE_PROFILE says."),
]


def read_settings(profile: str | None = None) -> Settings:
    """The settings tree.

    Args:
        profile: what the operator asked for by `--profile`; commands beside us follow it, too.

    Raises:
        SettingsError: an unknown profile, or a value that does not fit.
    """
    from conf.settings import choose_profile, load_settings

    if profile is not None:
        choose_profile(profile)
    return load_settings()


@contextmanager
def progress(what: str) -> Iterator[Callable[[str], None]]:
    """One moving line with the latest step; a plain line for each where nobody watches a terminal.

    Args:
        what: the first step.

    Yields:
        A function that takes the next step.
    """
    out = error_console()
    if not out.is_terminal:
        said = [""]

        def say(step: str) -> None:
            if step != said[0]:
                said[0] = step
                out.print(step, style="dim", highlight=False)

        yield say
        return
    with out.status(what) as line:
        yield line.update


def and_list(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


@contextmanager
def one_interrupt() -> Iterator[None]:
    """The first Ctrl-C or SIGTERM ends a command in order; further ones do not disturb that."""
    signals = (signal.SIGINT, signal.SIGTERM)

    def interrupt(*_: object) -> None:
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def clear_outages() -> Iterator[None]:
    """A database or a broker that is not there, or goes away, is one sentence, not a traceback.

    Raises:
        StorelakeError: says so.
    """
    from confluent_kafka import KafkaException
    from psycopg import OperationalError
    from psycopg_pool import PoolTimeout
    from sqlalchemy import exc  # PyIceberg's way to the catalog

    from conf.errors import StorelakeError, first_line
    from streaming.sources.kafka import KafkaUnavailableError

    try:
        yield
    except (OperationalError, exc.OperationalError, PoolTimeout) as error:
        raise StorelakeError(
            f"Postgres cannot be reached ({first_line(getattr(error, 'orig', error))}): see "
            "`storelake status`, or check STORELAKE_POSTGRES__HOST, __PORT and __PASSWORD."
        ) from error
    except (KafkaException, KafkaUnavailableError) as error:
        raise StorelakeError(
            f"Kafka cannot be reached ({first_line(error)}): see `storelake status`, or check "
            "STORELAKE_KAFKA__BOOTSTRAP_SERVERS."
        ) from error
