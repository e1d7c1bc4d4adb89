"""A store file that programs read again when it has changed."""

from __future__ import annotations

import logging
from pathlib import Path

from conf.settings import SettingsError
from conf.stores import Stores, load_stores

log = logging.getLogger(__name__)


class StoreFile:
    """The newest usable content of a store file.

    Args:
        path: of the file.

    Attributes:
        stores: of the file as it was when it could be used last.

    Raises:
        SettingsError: the file cannot be used at the start.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version = self._stat()
        self.stores: Stores = load_stores(path)

    def reload(self) -> bool:
        """Read the file if it has changed; whether `stores` are others. A fault is logged once."""
        version = self._stat()
        if version == self._version:
            return False
        self._version = version
        try:
            stores = load_stores(self._path)
        except (OSError, SettingsError) as error:
            log.warning("the store file has changed and is not used: %s", error)
            return False
        changed, self.stores = stores != self.stores, stores
        return changed

    def _stat(self) -> tuple[int, int, int]:
        try:
            found = self._path.stat()
        except OSError:
            return (0, 0, 0)
        return found.st_mtime_ns, found.st_size, found.st_ino
