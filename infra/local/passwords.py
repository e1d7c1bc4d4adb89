"""The password of the local database: made once, kept in a file that only its owner can read."""

from __future__ import annotations

import os
import secrets

from dotenv import dotenv_values
from pydantic import SecretStr

from conf.settings import Settings

VARIABLE = "STORELAKE_POSTGRES__PASSWORD"


def with_known_password(settings: Settings) -> Settings:
    """The settings with the password that an earlier `up` kept, if there is one."""
    file = settings.secrets_file
    if settings.postgres.password is not None or not settings.postgres.local or not file.is_file():
        return settings
    kept = dotenv_values(file).get(VARIABLE)
    return _with(settings, kept) if kept else settings


def with_password(settings: Settings) -> Settings:
    """The settings with a database password, made and kept if there is none yet.

    Args:
        settings: as loaded; a password that is set stays. For a server of somebody else nothing
            is made.

    Returns:
        The same settings, or a copy with the password of `settings.secrets_file`.
    """
    known = with_known_password(settings)
    if known.postgres.password is not None or not settings.postgres.local:
        return known
    password = secrets.token_urlsafe(24)
    _keep(settings, password)
    return _with(settings, password)


def _with(settings: Settings, password: str) -> Settings:
    postgres = settings.postgres.model_copy(update={"password": SecretStr(password)})
    return settings.model_copy(update={"postgres": postgres})


def _keep(settings: Settings, password: str) -> None:
    file = settings.secrets_file
    file.parent.mkdir(parents=True, exist_ok=True)
    before = file.read_text() if file.is_file() else ""
    if before and not before.endswith("\n"):
        before += "\n"
    scratch = file.with_suffix(".partial")
    scratch.unlink(missing_ok=True)
    # Created with its final mode: there is no moment at which others could read it.
    handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as out:
        out.write(f"{before}{VARIABLE}={password}\n")
        out.flush()
        os.fsync(out.fileno())
    scratch.replace(file)
