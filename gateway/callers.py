"""Who sends a request, and whether he may: decided by its headers, before its body is read."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from starlette.datastructures import Headers
from starlette.requests import Request

from conf.gateway_keys import KeyParts, read_key
from conf.settings import GatewaySettings
from gateway.addresses import Network, client_address
from gateway.keys import Key, KeyRing
from gateway.limits import RateLimit
from gateway.rejections import TooManyUnauthenticatedError, UnauthorizedError

SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key of `storelake keys`"},
    "api_key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
}
"""The security schemes of the OpenAPI document; one of them is enough."""
_BURST_SECONDS = 10


class Callers:
    """Finds the key of each request; addresses that have none are limited."""

    def __init__(self, keys: KeyRing, settings: GatewaySettings) -> None:
        self._keys = keys
        self._proxies: Sequence[Network] = settings.trusted_proxies
        rate = settings.unauthenticated_per_second
        self._strangers = RateLimit(
            rate, max(1.0, rate * _BURST_SECONDS), rejection=TooManyUnauthenticatedError
        )

    async def authenticate(self, request: Request, scope: str) -> Key:
        """The key of a request; its id is in the log lines that follow.

        Raises:
            UnauthorizedError: it has none that is valid.
            ForbiddenError: the key does not have the scope.
            TooManyUnauthenticatedError: its address had too many without a valid one.
            KeysUnavailableError: the key is not known, and cannot be looked up.
        """
        parts = _presented(request.headers)
        key = self._keys.known(parts) if parts else None
        if key is None:
            self._strangers.admit(client_address(request, self._proxies), 1)
            if parts is None:
                raise UnauthorizedError
            key = await self._keys.look_up(parts)
        structlog.contextvars.bind_contextvars(key=key.id)
        key.require_scope(scope)
        return key


def _presented(headers: Headers) -> KeyParts | None:
    """The one key in the headers; None without one, and where there are several."""
    given = headers.getlist("x-api-key")
    for value in headers.getlist("authorization"):
        scheme, _, text = value.partition(" ")
        given.append(text.strip() if scheme.lower() == "bearer" else "")
    return read_key(given[0]) if len(given) == 1 else None
