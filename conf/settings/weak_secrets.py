"""Refuses secrets that anybody can guess, wherever others than the owner of the machine may try."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydantic import BaseModel, SecretStr

from conf.settings.base import PLACEHOLDERS, SettingsError

LEAST_LENGTH = 12
LEAST_DISTINCT = 5
"""Characters of a secret that differ from one another."""
LEAST_DIGITS = 20
"""Length of a secret of digits alone."""
NAMES = ("ACCESS_KEY", "_URL")
"""Ends of the variables whose values may be short: they name something, and may hold a secret."""
OWN_MACHINE = frozenset({"local", "test"})
"""Profiles whose servers are those of this machine, on loopback."""
EXAMPLE_TERMS = PLACEHOLDERS | {
    *("admin", "administrator", "guest", "root", "user", "minio", "minioadmin", "kafka", "pulsar"),
    *("postgres", "postgresql", "storelake", "writer", "reader", "quality", "gateway", "console"),
    *("secret", "token", "key", "pass", "passwd", "test", "demo", "sample", "default", "todo"),
    *("example", "my", "your", "here", "the", "real", "set", "welcome", "qwerty", "letmein"),
    *("change", "me", "replace", "insert", "this", "hunter", "abc", "xxx", "dummy", "fixme"),
    *("akiaiosfodnn", "wjalrxutnfemikmdengbpxrficyexamplekey"),  # of AWS's manual
}
"""Terms of the secrets in examples and manuals."""

_TERMS = sorted((re.sub(r"[^a-z]", "", term) for term in EXAMPLE_TERMS), key=len, reverse=True)
_ONLY_TERMS = re.compile(f"(?:{'|'.join(filter(None, _TERMS))})*")


def require_strong_secrets(settings: BaseModel, profile: str) -> None:
    """Check every secret that is set, outside the profiles `local` and `test`.

    Raises:
        SettingsError: names the variable and the fault of a weak one, never its value.
    """
    if profile in OWN_MACHINE:
        return
    for variable, fault in weak_secrets(settings):
        raise SettingsError(
            f"{variable} {fault}, which the profile {profile!r} does not allow: set a random "
            "one, such as `openssl rand -hex 24` prints."
        )


def weak_secrets(settings: BaseModel) -> list[tuple[str, str]]:
    """(variable, fault) of every secret that is set and easy to guess."""
    return [
        (variable, fault)
        for variable, secret, names in _secrets(settings, "STORELAKE")
        if (fault := weakness(secret, names, is_name=variable.endswith(NAMES)))
    ]


def weakness(secret: str, names: frozenset[str] = frozenset(), *, is_name: bool = False) -> str:
    """What makes a secret easy to guess; empty for a good one.

    Args:
        secret: to check.
        names: of the accounts beside it, in lower case.
        is_name: whether it names a key pair or a place, and may be short.
    """
    plain = secret.strip().lower()
    alphabetic = re.sub(r"[^a-z]", "", plain)
    short = len(plain) < LEAST_LENGTH
    mostly_alphabetic = alphabetic and (short or 2 * len(alphabetic) >= len(plain))
    few = len({*plain}) < LEAST_DISTINCT or (not alphabetic and len(plain) < LEAST_DIGITS)
    faults = {
        "is empty": not plain,
        "is the name of its user": plain in names,
        "is a term of examples": mostly_alphabetic and _ONLY_TERMS.fullmatch(alphabetic),
        f"is shorter than {LEAST_LENGTH} characters": short and not is_name,
        "is a short number, or repeats few characters": few and not is_name,
    }
    return next((fault for fault, holds in faults.items() if holds), "")


def _secrets(branch: BaseModel, path: str) -> Iterator[tuple[str, str, frozenset[str]]]:
    """(variable, value, names of users in its branch) of every secret that is set."""
    fields = [(name, getattr(branch, name)) for name in type(branch).model_fields]
    users = {v.lower() for name, v in fields if name.endswith("user") and isinstance(v, str)}
    separator = "_" if path == "STORELAKE" else "__"
    for name, value in fields:
        variable = f"{path}{separator}{name.upper()}"
        if isinstance(value, BaseModel):
            yield from _secrets(value, variable)
        elif isinstance(value, SecretStr):
            yield variable, value.get_secret_value(), frozenset(users)
