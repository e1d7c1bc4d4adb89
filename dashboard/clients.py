"""What a connection states about who sends it, and which of its headers count."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Protocol
from urllib.parse import SplitResult, urlsplit

from starlette.requests import HTTPConnection

from conf.settings import ConsoleSettings
from conf.settings.base import is_loopback
from dashboard.sessions import Identity, Role, Sessions
from gateway.addresses import client_address

SAFE_METHODS = frozenset({"GET", "HEAD"})
MOST_NAME = 64
"""Characters of a user's name that are shown."""


class Proxies:
    """The proxies whose headers count; those of everybody else are ignored."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = [ip_network(one) for one in networks]

    def trusts(self, address: str) -> bool:
        """Whether an address is that of a proxy; False for a text that is no address."""
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped:
            parsed = parsed.ipv4_mapped
        return any(parsed in network for network in self._networks)

    def header(self, connection: HTTPConnection, name: str) -> str | None:
        """The header of a trusted proxy; None where it is missing, or is there twice."""
        values = connection.headers.getlist(name)
        return values[0] if len(values) == 1 and self.trusts(peer(connection)) else None

    def client_address(self, connection: HTTPConnection) -> str:
        """Address of the client: the last one of X-Forwarded-For that is no proxy's."""
        return client_address(connection, self._networks)

    def host(self, connection: HTTPConnection) -> str:
        """Host and port by which the browser addresses the console."""
        named = self.header(connection, "x-forwarded-host")
        return named or connection.headers.get("host", "")

    def https(self, connection: HTTPConnection) -> bool:
        """Whether the browser is connected by TLS."""
        named = self.header(connection, "x-forwarded-proto")
        return (named or connection.url.scheme) in {"https", "wss"}

    def from_another_site(self, connection: HTTPConnection) -> bool:
        """Whether a page of another origin sends this; browsers name the origin when it matters.

        A request that changes something and a websocket need an origin, others may have one.
        """
        origins = connection.headers.getlist("origin")
        if not origins:
            return connection.scope.get("method") not in SAFE_METHODS
        return [_parts(one).netloc for one in origins] != [self.host(connection)]


def _parts(url: str) -> SplitResult:
    """The parts of a URL; none of what is no URL, such as `http://[`."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def peer(connection: HTTPConnection) -> str:
    """Address of the other end of the connection."""
    return connection.client.host if connection.client else ""


class Login(Protocol):
    """A way to sign in."""

    def identify(self, connection: HTTPConnection) -> Identity | None:
        """Who sends a request; None: nobody who is signed in."""


class PasswordLogin:
    """Sessions, whose token is in a cookie.

    Args:
        sessions: those that last.
        cookie: name of the cookie.
    """

    def __init__(self, sessions: Sessions, cookie: str) -> None:
        self._sessions, self._cookie = sessions, cookie

    def identify(self, connection: HTTPConnection) -> Identity | None:
        """Who the session of the cookie belongs to."""
        return self._sessions.find(connection.cookies.get(self._cookie, ""))


class ProxyLogin:
    """A proxy that signs people in, and names user and groups in headers of every request."""

    def __init__(self, settings: ConsoleSettings, proxies: Proxies) -> None:
        self._settings, self._proxies = settings, proxies

    def identify(self, connection: HTTPConnection) -> Identity | None:
        """Whom the headers name; None also where no group of the user has a role."""
        name = self._proxies.header(connection, self._settings.user_header)
        groups = self._proxies.header(connection, self._settings.groups_header) or ""
        role = self._role({one.strip() for one in groups.split(",")})
        return Identity(name[:MOST_NAME], role) if name and role else None

    def _role(self, groups: set[str]) -> Role | None:
        if self._settings.operator_group in groups:
            return "operator"
        viewers = self._settings.viewer_group
        return "viewer" if viewers is None or viewers in groups else None


class NoLogin:
    """Everybody on this machine is a viewer.

    A name that resolves to this machine is refused: a page of another site could have made it.
    """

    def identify(self, connection: HTTPConnection) -> Identity | None:
        """A viewer without a name."""
        host = _parts(f"//{connection.headers.get('host', '')}").hostname or ""
        return Identity("", "viewer") if is_loopback(host) else None
