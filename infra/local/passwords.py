"""The secrets of the local servers: made once, kept in a file that only its owner can read."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from dotenv import dotenv_values
from pydantic import SecretStr

from conf.settings import Settings
from infra.local.state_files import write_text

PREFIX = "STORELAKE_"


def with_known_secrets(settings: Settings) -> Settings:
    """The settings with the secrets that an earlier `up` kept, as far as there are some."""
    file = settings.secrets_file
    kept = dotenv_values(file) if file.is_file() else {}
    found = {name: kept.get(PREFIX + name) for name in _missing(settings)}
    return _with(settings, {name: value for name, value in found.items() if value})


def with_secrets(settings: Settings) -> Settings:
    """The settings with the secrets of our own servers, made and kept where there are none yet.

    A secret that is set is kept, and none is made for external servers.

    Returns:
        The same settings, or a copy with the secrets of `settings.secrets_file`.
    """
    known = with_known_secrets(settings)
    made = {name: secrets.token_urlsafe(24) for name in _missing(known)}
    if made:
        _keep(settings, made)
    return _with(known, made)


def _missing(settings: Settings) -> list[str]:
    """Names of the secrets that our own servers need and that are not set: `BRANCH__FIELD`."""
    wanted = {
        "POSTGRES__PASSWORD": settings.postgres.local and settings.postgres.password is None,
        "CONSOLE__PASSWORD": settings.postgres.local and settings.console.password is None,
        "S3__ACCESS_KEY": settings.wants_minio and settings.s3.access_key is None,
        "S3__SECRET_KEY": settings.wants_minio and settings.s3.secret_key is None,
    }
    return [name for name, missing in wanted.items() if missing]


def _with(settings: Settings, values: Mapping[str, str]) -> Settings:
    for name, value in values.items():
        branch, field = name.lower().split("__")
        changed = getattr(settings, branch).model_copy(update={field: SecretStr(value)})
        settings = settings.model_copy(update={branch: changed})
    return settings


def _keep(settings: Settings, values: Mapping[str, str]) -> None:
    file = settings.secrets_file
    before = file.read_text() if file.is_file() else ""
    if before and not before.endswith("\n"):
        before += "\n"
    made = "".join(f"{PREFIX}{name}={value}\n" for name, value in values.items())
    # Created with its final mode: there is no moment at which others could read it.
    write_text(file, before + made, mode=0o600)
