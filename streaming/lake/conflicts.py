"""Commits of several writers to one table, in any table format.

A stream, maintenance, validation and a backfill commit to the same table. A commit succeeds only if
the table is as it was loaded; where another one came first, the function that loaded it runs again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NoReturn, TypeVar

from tenacity import (
    RetryCallState,
    retry,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)
from typing_extensions import ParamSpec

from streaming.lake.protocol import LakeError

CONFLICT = "another commit came first"
"""Logged each time that a commit is retried."""
ATTEMPTS = 20

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger("storelake.lake")


def retry_on(conflict: type[Exception]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator that runs a function again on a conflict, and `ATTEMPTS` times at most.

    The waits are short and random: a longer one makes the next attempt no likelier to succeed.

    Args:
        conflict: raised by the library of the format.

    Raises:
        LakeError: the last attempt had a conflict, too; it has changed nothing.
    """
    return retry(
        retry=retry_if_exception_type(conflict),
        wait=wait_random_exponential(multiplier=0.05, max=2),
        stop=stop_after_attempt(ATTEMPTS),
        before_sleep=lambda state: log.info("%s: %s begins again", CONFLICT, _name(state)),
        retry_error_callback=_give_up,
    )


def _give_up(state: RetryCallState) -> NoReturn:
    raise LakeError(
        f"{_name(state)}: {CONFLICT}, {ATTEMPTS} times in a row. Nothing was changed: try it again "
        "when fewer streams and commands write to the table."
    ) from (state.outcome.exception() if state.outcome else None)


def _name(state: RetryCallState) -> str:
    return getattr(state.fn, "__qualname__", str(state.fn))
