"""Requests to the gateway application in this process."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from fastapi import FastAPI

from tests.support.gateway_keys import TILL, bearer


def request(app: FastAPI, method: str, path: str, **kwargs: Any) -> httpx.Response:
    """The response of the whole ASGI application; an unexpected error is one, too.

    The request has the key `TILL`, unless it has headers of its own for that.
    """
    kwargs["headers"] = {**bearer(TILL), **kwargs.get("headers", {})}

    async def once() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            return await client.request(method, path, **kwargs)

    return asyncio.run(once())
