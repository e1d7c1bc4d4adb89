"""The branches that the gateway accepts orders of: those of the store file."""

from __future__ import annotations

from pathlib import Path

import structlog

from conf.settings import SettingsError
from conf.stores import load_stores

log = structlog.get_logger()


class KnownBranches:
    """Ids of the branches of a store file, read again when the file has changed.

    A file that is missing or wrong refuses nobody: the streams validate each order again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed_at: int | None = None
        self._ids: frozenset[str] | None = None

    def current(self) -> frozenset[str] | None:
        """The ids; None when they are not known."""
        try:
            changed_at = self._path.stat().st_mtime_ns
        except OSError:
            changed_at = 0
        if changed_at != self._changed_at:
            self._changed_at, self._ids = changed_at, self._read()
        return self._ids

    def _read(self) -> frozenset[str] | None:
        try:
            return frozenset(b.branch_id for b in load_stores(self._path).branches)
        except (OSError, SettingsError) as error:
            log.warning("branches_unknown", reason=str(error))
            return None
