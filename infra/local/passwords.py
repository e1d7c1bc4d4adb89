"""The secrets of the local servers: made once, kept in a file that only its owner can read."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import timedelta

from dotenv import dotenv_values
from pydantic import SecretStr

from conf.gateway_keys import SCOPES, KeyParts, new_key, read_key
from conf.settings import PostgresSettings, Settings, SettingsError
from conf.settings.storage import ROLES
from infra.local.state_files import write_text
from infra.postgres.gateway_keys import create_key, renew_key

PREFIX = "STORELAKE_"
GATEWAY_KEY = "GATEWAY__KEY"
LOCAL_KEY_LIFE = timedelta(days=365)


def with_known_secrets(settings: Settings) -> Settings:
    """The settings with the secrets that an earlier `up` kept, as far as there are some."""
    kept = _kept(settings)
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


def with_local_key(settings: Settings) -> Settings:
    """The settings with a valid key of the gateway for the senders of this machine.

    The key that was kept is renewed; where it is revoked, expired or not of this database, another
    one is made, for all branches. A key that the operator has set is stored where it is new, and
    else left alone. Nothing is done for an external Postgres. The tables must be there.

    Raises:
        ServiceError: Postgres does not answer.
    """
    kept, key = _kept(settings).get(PREFIX + GATEWAY_KEY), settings.gateway.key
    text = key.get_secret_value() if key else kept
    if not settings.postgres.local:
        return settings
    if text is not None and text != kept:
        _store_key(settings, read_key(text))
        return settings
    if text is None or not renew_key(settings, text, LOCAL_KEY_LIFE):
        text = _store_key(settings, new_key()).text
        _keep(settings, {GATEWAY_KEY: text})
    return _with(settings, {GATEWAY_KEY: text})


def _store_key(settings: Settings, key: KeyParts | None) -> KeyParts:
    if key is None:
        raise SettingsError(
            "STORELAKE_GATEWAY__KEY has not the form of a key: unset it, and `storelake up` makes "
            "one, or set one of `storelake keys create`."
        )
    return create_key(
        settings, name="local", branches=None, scopes=SCOPES, lifetime=LOCAL_KEY_LIFE, key=key
    )


def _missing(settings: Settings) -> list[str]:
    """Names of the secrets that our own servers need and that are not set: `BRANCH__FIELD`."""
    postgres, console = settings.postgres, settings.console
    unset = console.viewer_password is None and console.operator_password is None
    sign_in = console.login == "password" and unset
    wanted = {
        **dict.fromkeys(_roles_without_password(postgres), postgres.local),
        "CONSOLE__PASSWORD": settings.postgres.local and settings.console.password is None,
        "CONSOLE__VIEWER_PASSWORD": sign_in,
        "CONSOLE__OPERATOR_PASSWORD": sign_in,
        "S3__ACCESS_KEY": settings.wants_minio and settings.s3.access_key is None,
        "KAFKA__SECRET": settings.kafka.bootstrap_servers is None and settings.kafka.secret is None,
        "PULSAR__SECRET": settings.wants_pulsar
        and settings.pulsar.service_url is None
        and settings.pulsar.secret is None,
        "S3__SECRET_KEY": settings.wants_minio and settings.s3.secret_key is None,
    }
    return [name for name, missing in wanted.items() if missing]


def _kept(settings: Settings) -> Mapping[str, str | None]:
    file = settings.secrets_file
    return dotenv_values(file) if file.is_file() else {}


def _roles_without_password(postgres: PostgresSettings) -> list[str]:
    return [
        "POSTGRES__PASSWORD" if role == "owner" else f"POSTGRES__{role.upper()}_PASSWORD"
        for role in ROLES
        if postgres.password_of(role) is None
        and (role == "owner" or postgres.user_of(role) != postgres.user)
    ]


def _with(settings: Settings, values: Mapping[str, str]) -> Settings:
    for name, value in values.items():
        branch, field = name.lower().split("__")
        changed = getattr(settings, branch).model_copy(update={field: SecretStr(value)})
        settings = settings.model_copy(update={branch: changed})
    return settings


def _keep(settings: Settings, values: Mapping[str, str]) -> None:
    file = settings.secrets_file
    lines = file.read_text().splitlines() if file.is_file() else []
    before = [line for line in lines if line.partition("=")[0].removeprefix(PREFIX) not in values]
    text = "".join(f"{line}\n" for line in before)
    made = "".join(f"{PREFIX}{name}={value}\n" for name, value in values.items())
    write_text(file, text + made)
