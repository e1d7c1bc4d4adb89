"""Keys of the gateway: their form `slk_<id>_<secret>`, scopes, and the digest that is stored.

The id is public; it names a key in logs and lists. The secret is 256 random bits, so a plain
SHA-256 is enough: slow hashes protect what people choose, and nobody can try 2^256 secrets (NIST
SP 800-63B, 5.1.2.2: look-up secrets of fewer than 112 bits need salt and a slow hash, others not).
"""

from __future__ import annotations

import re
import secrets
from hashlib import sha256
from typing import NamedTuple

WRITE_ORDERS = "orders:write"
SCOPES = (WRITE_ORDERS,)
_KEY = re.compile(r"slk_([0-9a-f]{12})_([A-Za-z0-9_-]{43})", re.ASCII)


class KeyParts(NamedTuple):
    """The public id of a key, and its secret."""

    id: str
    secret: str

    @property
    def digest(self) -> bytes:
        """SHA-256 of the secret."""
        return sha256(self.secret.encode()).digest()

    @property
    def text(self) -> str:
        """The whole key, as a client sends it."""
        return f"slk_{self.id}_{self.secret}"


def new_key(key_id: str | None = None) -> KeyParts:
    """A new secret, for a new key or for the one of the id."""
    return KeyParts(key_id or secrets.token_hex(6), secrets.token_urlsafe(32))


def read_key(text: str) -> KeyParts | None:
    """The parts of a key; None for what has another form."""
    match = _KEY.fullmatch(text)
    return KeyParts(match[1], match[2]) if match else None
