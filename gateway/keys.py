"""The keys that the gateway accepts: all of them in memory, read again every few seconds.

A request with a known key waits for no database, and one with an unknown key for one read that it
shares with all others that wait: neither makes queries of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from hmac import compare_digest
from typing import Protocol

import structlog

from conf.gateway_keys import KeyParts
from gateway.rejections import ForbiddenError, KeysUnavailableError, UnauthorizedError

log = structlog.get_logger()
_PAUSE_SECONDS = 0.2
"""Between two reads for unknown keys: who tries keys makes five queries a second at most."""
_READ_SECONDS = 3.0
_SAVE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Key:
    """A key that is not revoked.

    Attributes:
        id: public.
        branches: whose events it may send; None for all branches.
        scopes: of `conf.gateway_keys.SCOPES`.
        secrets: SHA-256 of each secret, and when it ends (UTC); two while the key is rotated.
    """

    id: str
    branches: frozenset[str] | None
    scopes: frozenset[str]
    secrets: tuple[tuple[bytes, datetime], ...]

    def require_branch(self, branch: str, event_id: str) -> None:
        """Raise `ForbiddenError` for an event of a branch that is not one of the key's."""
        if self.branches is not None and branch not in self.branches:
            refused = ForbiddenError("the key is not for the branch of this event")
            refused.event_id = event_id
            raise refused

    def require_scope(self, scope: str) -> None:
        """Raise `ForbiddenError` for a scope that the key does not have."""
        if scope not in self.scopes:
            raise ForbiddenError(f"the key does not have the scope {scope}")


class KeyStoreError(Exception):
    """The store of keys does not answer."""


class KeyStore(Protocol):
    """Where keys are: `PostgresKeys`, or a dictionary in tests."""

    async def read(self) -> Mapping[str, Key]:
        """All keys that are not revoked, by id; raises `KeyStoreError`."""

    async def save_used(self, used: Mapping[str, datetime]) -> None:
        """Note when keys were used last (UTC); raises `KeyStoreError`."""

    async def close(self) -> None:
        """Close the connection."""


def _now() -> datetime:
    return datetime.now(timezone.utc)


class KeyRing:
    """The keys of a store, as they were when they were last read."""

    def __init__(
        self,
        store: KeyStore,
        cache_seconds: float,
        outage_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._store = store
        self._cache_seconds = cache_seconds
        self._outage_seconds = outage_seconds
        self._clock = clock
        self._now = now
        self._keys: Mapping[str, Key] = {}
        self._read_at = self._tried_at = self._saved_at = float("-inf")
        self._used: dict[str, datetime] = {}
        self._reading = asyncio.Lock()

    def known(self, key: KeyParts) -> Key | None:
        """The key with this secret, where memory has it and is not too old."""
        if self._clock() - self._read_at > self._outage_seconds:
            return None
        found, now = self._keys.get(key.id), self._now()
        if found is None or not _opens(found, key.digest, now):
            return None
        self._used[key.id] = now
        return found

    async def look_up(self, key: KeyParts) -> Key:
        """The key with this secret, as the store has it now.

        Raises:
            UnauthorizedError: there is none.
            KeysUnavailableError: the store does not answer.
        """
        asked = self._clock()
        # A read that is cancelled may take its time to end: nobody waits for that.
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._read_after(asked), _READ_SECONDS + 1)
        if self._read_at < asked:
            raise KeysUnavailableError("the key cannot be looked up now")
        found = self.known(key)
        if found is None:
            raise UnauthorizedError
        return found

    async def _read_after(self, asked: float) -> None:
        async with self._reading:
            if self._tried_at < asked:
                await asyncio.sleep(max(0.0, self._tried_at + _PAUSE_SECONDS - self._clock()))
                await self.refresh()

    async def refresh(self) -> None:
        """Read the store; where it does not answer, the keys remain as they are."""
        began = self._tried_at = self._clock()
        try:
            self._keys = await asyncio.wait_for(self._store.read(), _READ_SECONDS)
        except (KeyStoreError, asyncio.TimeoutError) as error:
            log.warning("keys_not_read", reason=str(error) or f"no answer in {_READ_SECONDS} s")
        else:
            self._read_at = began

    async def keep_fresh(self) -> None:
        """Read the store again and again, and note there which keys were used, until cancelled."""
        while True:
            await asyncio.sleep(self._cache_seconds / 2)
            async with self._reading:
                await self.refresh()
            if self._clock() - self._saved_at >= _SAVE_SECONDS:
                await self._save_used()

    async def close(self) -> None:
        """Note what is not noted yet, and close the store."""
        await self._save_used()
        await self._store.close()

    async def _save_used(self) -> None:
        self._saved_at = self._clock()
        used, self._used = self._used, {}
        if not used:
            return
        try:
            await asyncio.wait_for(self._store.save_used(used), _READ_SECONDS)
        except (KeyStoreError, asyncio.TimeoutError):
            self._used = used | self._used


def _opens(key: Key, digest: bytes, now: datetime) -> bool:
    # All are compared, in constant time: how long it takes depends on no secret.
    same = [compare_digest(secret, digest) and now < ends for secret, ends in key.secrets]
    return any(same)
