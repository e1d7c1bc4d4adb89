"""Edit a text in the editor of the user, as `kubectl edit` does; no edit is lost."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from conf.errors import StorelakeError
from infra.terminal import error_console


@contextmanager
def in_editor(text: bytes, check: Callable[[bytes], object]) -> Iterator[bytes | None]:
    """Open a file in `$VISUAL`, `$EDITOR` or vi, again and again until `check` accepts it.

    The file, which only its owner can read, is deleted at the end of the block. After an error an
    edited file is kept, and the message has its path.

    Args:
        text: to begin with.
        check: raises `StorelakeError` with what is wrong.

    Yields:
        The new text; None where the user changed nothing.

    Raises:
        StorelakeError: there is no editor, it failed, or it ended twice with the same bad text.
    """
    number, name = tempfile.mkstemp(prefix="storelake-", suffix=".json")
    os.close(number)
    file = Path(name)
    file.write_bytes(text)
    try:
        yield _edited(file, text, check)
    except StorelakeError as error:
        if file.read_bytes() == text:
            file.unlink()
            raise
        raise StorelakeError(f"{error} Your text is kept in {file}.") from error
    file.unlink(missing_ok=True)


def _edited(file: Path, before: bytes, check: Callable[[bytes], object]) -> bytes | None:
    wrong: str | None = None
    while (after := _open(file)) != before:
        before, wrong = after, _problem(after, check)
        if wrong is None:
            return after
        error_console().print(f"{wrong}\nThe editor opens again.", markup=False, style="yellow")
    if wrong is not None:
        raise StorelakeError(f"Nothing was stored: {wrong}")
    return None


def _problem(text: bytes, check: Callable[[bytes], object]) -> str | None:
    try:
        check(text)
    except StorelakeError as error:
        return str(error)
    return None


def _open(file: Path) -> bytes:
    try:
        click.edit(filename=str(file))
        return file.read_bytes()
    except (OSError, click.ClickException) as error:
        reason = error.message if isinstance(error, click.ClickException) else error
        raise StorelakeError(f"The editor failed ({reason}): set EDITOR.") from error
