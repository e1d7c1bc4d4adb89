"""Who is signed in: roles, passwords, sessions, and the limit of failed attempts.

All of it is kept in memory: a new process of the console has no session.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal

Role = Literal["viewer", "operator"]
Clock = Callable[[], float]
MOST_SESSIONS = 1000
ATTEMPTS_EACH, ATTEMPTS_IN_ALL = 10, 60
"""Attempts that may fail in a minute: from one address, and from all addresses."""
SCRYPT = {"n": 2**14, "r": 8, "p": 5}
"""OWASP, Password Storage Cheat Sheet: 16 MiB and about 0.2 s an attempt."""


@dataclass(frozen=True)
class Identity:
    """Who sends a request.

    Attributes:
        name: shown on the pages.
        role: `viewer` reads, `operator` also changes.
        session: key of the session; None where a proxy signs people in.
    """

    name: str
    role: Role
    session: str | None = None


class Passwords:
    """Salted scrypt digests of the passwords; the passwords are not kept."""

    def __init__(self, passwords: Mapping[Role, str]) -> None:
        self._salt = secrets.token_bytes(16)
        self._digests = {role: self._digest(text) for role, text in passwords.items()}

    def role_of(self, password: str) -> Role | None:
        """The role of a password, in a time that does not depend on where it differs."""
        given = self._digest(password)
        fits = {role: hmac.compare_digest(given, one) for role, one in self._digests.items()}
        return next((role for role, one in fits.items() if one), None)

    def _digest(self, text: str) -> bytes:
        return hashlib.scrypt(text.encode(), salt=self._salt, maxmem=2**26, **SCRYPT)


@dataclass(frozen=True)
class _Session:
    role: Role
    began: float
    used: float


class Sessions:
    """Sessions by the digest of their token, so that a lookup reveals nothing about tokens.

    Args:
        idle: a session that is not used for this long has ended.
        length: a session has ended after this long in any case.
        clock: seconds that only grow.
    """

    def __init__(self, idle: timedelta, length: timedelta, clock: Clock = time.monotonic) -> None:
        self._idle, self._length = idle.total_seconds(), length.total_seconds()
        self._clock = clock
        self._sessions: dict[str, _Session] = {}

    def begin(self, role: Role) -> str:
        """Start a session; returns the token for its cookie. The least used one makes room."""
        now, token = self._clock(), secrets.token_urlsafe(32)
        if len(self._sessions) >= MOST_SESSIONS:
            del self._sessions[min(self._sessions, key=lambda key: self._sessions[key].used)]
        self._sessions[_key(token)] = _Session(role, now, now)
        return token

    def find(self, token: str) -> Identity | None:
        """Who is signed in with a token; this uses the session."""
        key = _key(token)
        if not self.use(key):
            return None
        role = self._sessions[key].role
        return Identity(role, role, key)

    def use(self, key: str | None) -> bool:
        """Whether the session lasts, which is used by this; True for the key None."""
        if key is None:
            return True
        one, now = self._sessions.get(key), self._clock()
        if one is None:
            return False
        if now - one.used >= self._idle or now - one.began >= self._length:
            self.end(key)
            return False
        self._sessions[key] = replace(one, used=now)
        return True

    def end(self, key: str | None) -> None:
        """End one session; a key without one is ignored."""
        if key is not None:
            self._sessions.pop(key, None)

    def end_all(self) -> None:
        """End every session."""
        self._sessions.clear()


def _key(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


class Attempts:
    """Counts attempts to sign in that fail, from one minute to the next."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._minute, self._failed = 0, Counter[str]()

    def begin(self, address: str) -> bool:
        """Count an attempt as failed until `succeed`; False where there were too many."""
        minute = int(self._clock() // 60)
        if minute != self._minute:
            self._minute, self._failed = minute, Counter()
        if self._failed[address] >= ATTEMPTS_EACH or self._failed.total() >= ATTEMPTS_IN_ALL:
            return False
        self._failed[address] += 1
        return True

    def succeed(self, address: str) -> None:
        """An attempt of this address was right: it does not count."""
        self._failed[address] = max(0, self._failed[address] - 1)
