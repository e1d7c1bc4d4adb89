"""Receivers of alerts: a webhook, a mail server. Each attempt ends within a bound."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime, timezone
from email.message import EmailMessage
from typing import Protocol
from urllib.parse import urlsplit

import aiosmtplib
import httpx

from conf.errors import first_line
from conf.settings import AlertSettings, Settings
from dashboard.alert_log import Notice
from dashboard.alert_messages import mail, webhook_body

log = logging.getLogger(__name__)
SECONDS = 15.0
"""A whole attempt, also against a receiver that sends one byte at a time."""


class DeliveryError(Exception):
    """Why a receiver does not have the notices: one sentence without a secret."""


class Receiver(Protocol):
    """Who gets alerts; at least once each.

    Attributes:
        name: for logs, without a secret; unique.
    """

    name: str

    async def deliver(self, notices: Sequence[Notice]) -> None:
        """Send them.

        Raises:
            DeliveryError: the receiver has not accepted them.
        """


class Webhook:
    """POST of JSON to one address; a redirect is a failure, since it would lead elsewhere."""

    def __init__(self, settings: AlertSettings, console_url: str) -> None:
        assert settings.webhook_url is not None  # noqa: S101 - for the types
        self._url, self._console = settings.webhook_url.get_secret_value(), console_url
        token = settings.webhook_token
        self._headers = {"Authorization": f"Bearer {token.get_secret_value()}"} if token else {}
        self.name = f"webhook at {urlsplit(self._url).hostname}"

    async def deliver(self, notices: Sequence[Notice]) -> None:
        """Send them; any answer but 2xx is a failure, and its body is not read."""
        body = webhook_body(notices, "storelake", self._console)
        try:
            status = await asyncio.wait_for(self._post(body), SECONDS)
        except (asyncio.TimeoutError, httpx.TimeoutException):
            raise DeliveryError(f"no answer within {SECONDS:g} s") from None
        except (httpx.HTTPError, OSError) as error:
            raise DeliveryError(first_line(error)) from error
        if not httpx.codes.is_success(status):
            hint = ": redirects are not followed" if httpx.codes.is_redirect(status) else ""
            raise DeliveryError(f"it answers {status}{hint}")

    async def _post(self, body: object) -> int:
        async with (
            httpx.AsyncClient(timeout=SECONDS, headers=self._headers) as client,
            client.stream("POST", self._url, json=body) as response,
        ):
            return response.status_code


class Mail:
    """One mail to all recipients, by one mail server."""

    def __init__(self, settings: AlertSettings, console_url: str) -> None:
        self._settings, self._console = settings, console_url
        self.name = f"mail by {settings.smtp_host}"

    async def deliver(self, notices: Sequence[Notice]) -> None:
        """Send them; a recipient whom the server refuses beside others is logged."""
        to, sender = self._settings.email_to, self._settings.email_from
        message = mail(notices, sender, to, self._console, datetime.now(timezone.utc))
        try:
            refused, _ = await asyncio.wait_for(self._send(message), SECONDS)
        except asyncio.TimeoutError:
            raise DeliveryError(f"no answer within {SECONDS:g} s") from None
        except (aiosmtplib.SMTPException, OSError) as error:
            raise DeliveryError(first_line(error)) from error
        if refused:
            log.warning("%s refuses %s of %s recipients", self.name, len(refused), len(to))

    async def _send(self, message: EmailMessage) -> tuple[dict[str, aiosmtplib.SMTPResponse], str]:
        one = self._settings
        password = one.smtp_password.get_secret_value() if one.smtp_password else None
        return await aiosmtplib.send(
            message,
            hostname=one.smtp_host,
            port=one.smtp_port,
            username=one.smtp_user,
            password=password,
            use_tls=one.smtp_security == "tls",
            start_tls=one.smtp_security == "starttls",
            timeout=SECONDS,
        )


def receivers(settings: Settings) -> list[Receiver]:
    """Those that are configured."""
    alerts, url = settings.alerts, settings.console.url
    found: list[Receiver] = []
    if alerts.webhook_url:
        found.append(Webhook(alerts, url))
    if alerts.email_to:
        found.append(Mail(alerts, url))
    return found
