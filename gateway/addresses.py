"""The address that a request comes from, behind proxies, too."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

from starlette.requests import HTTPConnection

Network: TypeAlias = IPv4Network | IPv6Network
UNKNOWN = "unknown"
_SITE_BITS = 64
"""A client of IPv6 has a whole network of addresses (RFC 6177): it is one client."""


def client_address(request: HTTPConnection, proxies: Sequence[Network]) -> str:
    """The address of the peer; where it is a trusted proxy, the one that it states.

    Proxies append to `X-Forwarded-For`, so the rightmost address that is no trusted proxy is the
    client: what stands left of it may be made up. A part that is no address ends the search.
    """
    address = _address(request.client.host if request.client else "")
    forwarded = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
    while address and forwarded and any(address in network for network in proxies):
        before = _address(forwarded.pop().strip())
        if before is None:
            break
        address = before
    return _client(address)


def _client(address: IPv4Address | IPv6Address | None) -> str:
    if address is None:
        return UNKNOWN
    if isinstance(address, IPv6Address):
        return str(ip_network((int(address), _SITE_BITS), strict=False))
    return str(address)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found
