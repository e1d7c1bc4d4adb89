"""Settings of alerts: when they begin, and who gets them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from conf.settings.base import Frozen, Secret

ADDRESS = re.compile(r"[^\s@<>,;:\x00-\x1f\x7f]+@[^\s@<>,;:\x00-\x1f\x7f]+")


def _is_web_address(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    parts = urlsplit(text)
    is_ours = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    if not is_ours or not re.fullmatch("[!-~]+", text):
        raise ValueError("it must be an address that begins with http:// or https://")
    return value


def _is_token(value: SecretStr) -> SecretStr:
    if not re.fullmatch("[!-~]+", value.get_secret_value()):
        raise ValueError("it must be ASCII without spaces")
    return value


def _is_mail_address(value: str) -> str:
    if not ADDRESS.fullmatch(value):
        raise ValueError("it must be a mail address such as shop@example.org")
    return value


MailAddress = Annotated[str, AfterValidator(_is_mail_address)]


class AlertSettings(Frozen):
    """Alerts of the console, which it sends itself; Prometheus has its Alertmanager."""

    webhook_url: Annotated[SecretStr, AfterValidator(_is_web_address)] | None = None
    """Address that gets alerts by POST, in the webhook format of Alertmanager (version 4). It may
    contain a token, so it is in no log."""
    webhook_token: Annotated[Secret, AfterValidator(_is_token)] | None = None
    """Sent to the webhook as `Authorization: Bearer`."""
    email_to: tuple[MailAddress, ...] = ()
    """Who gets alerts by mail."""
    email_from: MailAddress = "storelake@localhost"
    """Sender of the mail."""
    smtp_host: str = "127.0.0.1"
    """Mail server."""
    smtp_port: int = Field(default=587, ge=1, le=65535)
    """Its port."""
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    """How the connection is encrypted; `none` only without a password."""
    smtp_user: str | None = None
    """User at the mail server; None: no login."""
    smtp_password: Secret | None = None
    """Password of that user."""
    hold: timedelta = Field(default=timedelta(minutes=2), ge=timedelta(0))
    """An alert is sent once it has been open for this long, and has ended once it has been absent
    for as long."""
    repeat: timedelta = Field(default=timedelta(hours=4), gt=timedelta(0))
    """An alert that is still open is sent again after this long."""
    queue_after: timedelta = Field(default=timedelta(minutes=5), gt=timedelta(0))
    """A queue above its limit for this long is an alert."""

    @model_validator(mode="after")
    def _never_a_password_in_the_clear(self) -> AlertSettings:
        if self.smtp_security == "none" and self.smtp_password is not None:
            raise ValueError("smtp_security=none would send smtp_password unencrypted")
        if (self.smtp_user is None) != (self.smtp_password is None):
            raise ValueError("smtp_user and smtp_password belong together")
        return self
