"""Appends events to a file, one JSON document a line; it can be replayed without a model."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from inference_service.publishers import PublishError


class NdjsonPublisher:
    """A file, appended to. Delivered means synced to the disk, which `flush` does.

    The key is not stored: an event carries its branch and camera.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written = 0
        self._synced = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab+")
            self._end_cut_line()
        except OSError as error:
            raise PublishError(f"The file {path} cannot be written: {error.strerror}.") from error

    @property
    def delivered(self) -> int:
        """Events that are safely on the disk."""
        return self._synced

    def publish(self, key: bytes, value: bytes) -> None:  # noqa: ARG002 - the value carries it
        """Write one line."""
        if self._file.closed:
            raise PublishError(f"The publisher of {self._path} is closed.")
        if b"\n" in value:
            raise PublishError("An event with a line break does not fit into a line.")
        try:
            self._file.write(value + b"\n")
        except OSError as error:
            raise self._failed(error) from error
        self._written += 1

    def flush(self) -> None:
        """Write and sync to the disk."""
        if self._file.closed:
            return
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._failed(error) from error
        self._synced = self._written

    def close(self) -> None:
        """Flush and close the file."""
        try:
            self.flush()
        finally:
            with suppress(OSError):  # of what `flush` has reported: it tries to write it again
                self._file.close()

    def _end_cut_line(self) -> None:
        # A process that was killed may have left half a line: ours must not be glued to it.
        if self._file.seek(0, os.SEEK_END):
            self._file.seek(-1, os.SEEK_END)
            if self._file.read(1) != b"\n":
                self._file.write(b"\n")

    def _failed(self, error: OSError) -> PublishError:
        lost = self._written - self._synced
        return PublishError(
            f"Up to {lost} events were not written to {self._path}: {error.strerror}."
        )
