"""Keys of the gateway without a database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone

from conf.gateway_keys import SCOPES, KeyParts, new_key
from gateway.keys import Key, KeyStoreError

TILL = new_key()
"""The key of a sender that may send for all branches."""


def bearer(key: KeyParts) -> dict[str, str]:
    """The header of who sends with a key."""
    return {"Authorization": f"Bearer {key.text}"}


class MemoryKeys:
    """A store of keys that a test changes, and that it can take down; it has `TILL`."""

    def __init__(self) -> None:
        self.keys: dict[str, Key] = {}
        self.used: dict[str, datetime] = {}
        self.down = False
        self.reads = 0
        self.add(TILL)

    def add(
        self,
        *secrets: KeyParts,
        branches: Sequence[str] | None = None,
        scopes: Sequence[str] = SCOPES,
        life: timedelta = timedelta(days=1),
    ) -> KeyParts:
        """Store a key with one or more secrets; returns the first."""
        key, *_ = secrets = secrets or (new_key(),)
        ends = datetime.now(timezone.utc) + life
        self.keys[key.id] = Key(
            key.id,
            frozenset(branches) if branches else None,
            frozenset(scopes),
            tuple((secret.digest, ends) for secret in secrets),
        )
        return key

    async def read(self) -> Mapping[str, Key]:
        self.reads += 1
        if self.down:
            raise KeyStoreError("down")
        return dict(self.keys)

    async def save_used(self, used: Mapping[str, datetime]) -> None:
        self.used |= used

    async def close(self) -> None:
        self.down = True
