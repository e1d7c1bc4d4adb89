"""One at a time, between processes."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

from infra.errors import ServiceError


@contextmanager
def exclusive(path: Path, what: str, seconds: float, cancel: Event | None = None) -> Iterator[None]:
    """Hold a lock file while inside; the system lets it go even when we are killed.

    Args:
        path: the lock file, made if missing.
        what: what the lock protects, for the message.
        seconds: how long to wait for another holder.
        cancel: gives up waiting when set.

    Raises:
        ServiceError: another process held it all the time, or the file cannot be opened.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + seconds
    try:
        opened = path.open("ab")
    except OSError as error:
        raise ServiceError(
            f"The lock file {path} cannot be opened ({error.strerror}): remove what is in its "
            "place, or run the command as the user that runs this deployment."
        ) from error
    with opened as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                stopped = cancel is not None and cancel.is_set()
                if stopped or time.monotonic() > deadline:
                    raise ServiceError(
                        f"Another storelake command is busy with {what}: wait until it has ended, "
                        "then run this again."
                    ) from None
                time.sleep(0.1)
        yield
