"""What all branches of the settings share: the base model, the error, secrets."""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, field_validator

from conf.errors import StorelakeError

CONF_DIR = Path(__file__).resolve().parents[1]
PLACEHOLDERS = frozenset({"", "changeme", "change-me", "password", "secret", "placeholder"})


class SettingsError(StorelakeError):
    """A setting is missing or invalid; the message names it and the correction."""


class Frozen(BaseModel):
    """Base of every branch: immutable, unknown names are errors, docstrings are descriptions.

    No number is infinite or not a number, and no duration is negative.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _reject_negative_duration(cls, value: Any) -> Any:
        if isinstance(value, timedelta) and value < timedelta(0):
            raise ValueError("a duration is not negative")
        return value


def _reject_placeholder(value: SecretStr) -> SecretStr:
    if value.get_secret_value().lower() in PLACEHOLDERS:
        raise ValueError("this is a placeholder; set a real secret")
    return value


Secret = Annotated[SecretStr, AfterValidator(_reject_placeholder)]
"""A password or key; placeholders of examples are invalid."""

Port = Annotated[int, Field(ge=0, le=65535)]
"""Of TCP."""


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own: 127.0.0.0/8, ::1 or localhost."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def http_url(host: str, port: int) -> str:
    """Base URL of a server on a host; an address of IPv6 is in brackets."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def required(secret: SecretStr | None, variable: str, advice: str) -> str:
    """The text of a secret.

    Raises:
        SettingsError: the secret is not set; the message has the variable and the advice.
    """
    if secret is None:
        raise SettingsError(f"{variable} is not set: {advice}")
    return secret.get_secret_value()
