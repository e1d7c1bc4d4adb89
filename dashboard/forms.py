"""Bodies of requests, within a size and a time."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from urllib.parse import parse_qs

from fastapi import Request
from starlette.requests import ClientDisconnect

BODY_SECONDS = 10.0


async def read_body(request: Request, most_bytes: int) -> bytes | None:
    """The body; None where it is larger, comes too slowly or breaks off."""
    with suppress(asyncio.TimeoutError, ClientDisconnect):
        return await asyncio.wait_for(_received(request, most_bytes), BODY_SECONDS)
    return None


async def _received(request: Request, most_bytes: int) -> bytes | None:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most_bytes:
            return None
    return bytes(body)


async def read_form(request: Request, most_bytes: int) -> dict[str, str] | None:
    """The fields of a form that have one value; None where it is none, too large or too slow."""
    body = await read_body(request, most_bytes)
    try:
        fields = parse_qs((body or b"").decode(), keep_blank_values=True, max_num_fields=20)
    except ValueError:
        return None
    return None if body is None else {n: one[0] for n, one in fields.items() if len(one) == 1}
