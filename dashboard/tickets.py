"""A link that signs in once: for who may read the deployment's files, and so its secrets, anyway.

The command that prints the link and the console meet at `<var>/run/console-ticket.json`.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING

from conf.settings import Settings
from infra.local.state_files import UnreadableStateError, read_state, write_state

if TYPE_CHECKING:
    from rich.console import Console

SECONDS = 3600.0


def sign_in_url(settings: Settings) -> str:
    """The address of the console; with passwords, a link that signs an operator in once.

    A link is good for an hour, and until the next one is made.
    """
    if settings.console.login != "password":
        return settings.console.url
    token = secrets.token_urlsafe(32)
    write_state(_file(settings.var_dir), {"digest": _digest(token), "until": time.time() + SECONDS})
    return f"{settings.console.url}/login?ticket={token}"


def shown_url(settings: Settings, out: Console) -> str:
    """`sign_in_url` for a terminal; without a link for anything else, which may be a log."""
    return sign_in_url(settings) if out.is_terminal else settings.console.url


def redeem(var_dir: Path, token: str) -> bool:
    """Whether a ticket is good; it is so once, also when two ask at the same time."""
    file = _file(var_dir)
    try:
        kept = read_state(file) or {}
        if not hmac.compare_digest(str(kept.get("digest")), _digest(token)):
            return False
        file.unlink()
    except (OSError, UnreadableStateError):
        return False
    return float(kept["until"]) > time.time()


def _file(var_dir: Path) -> Path:
    return var_dir / "run" / "console-ticket.json"


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
