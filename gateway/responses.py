"""Every answer of the gateway is JSON, the refusals too, in one shape."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from gateway.events import FieldFault, NotAnEventError, NotJsonError
from gateway.producer import TooLargeError, UnavailableError


class Accepted(BaseModel):
    """The broker has the event, on all in-sync replicas."""

    event_id: str
    topic: str
    partition: int
    offset: int


class Refused(BaseModel):
    """Why a request was refused; `fields` names every wrong field of an event."""

    error: str
    message: str
    fields: list[FieldFault] = []


class BodyTooLargeError(Exception):
    """The body is over `gateway.max_body_bytes`."""


def refuse(
    status: int,
    error: str,
    message: str,
    fields: list[FieldFault] | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """A refusal in the one shape."""
    body = Refused(error=error, message=message, fields=fields or [])
    return JSONResponse(body.model_dump(), status, headers)


def install_refusals(app: FastAPI, retry_after_seconds: int) -> None:
    """Map each exception of the gateway, and those of the framework, to its status."""

    @app.exception_handler(NotJsonError)
    async def _not_json(_: Request, error: NotJsonError) -> JSONResponse:
        return refuse(400, "invalid_json", str(error))

    @app.exception_handler(NotAnEventError)
    async def _not_an_event(_: Request, error: NotAnEventError) -> JSONResponse:
        message = "the event does not fit its contract"
        return refuse(422, "invalid_event", message, error.faults)

    @app.exception_handler(BodyTooLargeError)
    @app.exception_handler(TooLargeError)
    async def _too_large(_: Request, error: Exception) -> JSONResponse:
        # The rest of the body was not read, so this connection cannot carry another request.
        return refuse(413, "too_large", str(error), headers={"Connection": "close"})

    @app.exception_handler(UnavailableError)
    async def _unavailable(_: Request, error: UnavailableError) -> JSONResponse:
        message = f"{error}; repeat with the same event_id, the event may have arrived already"
        return refuse(
            503, "broker_unavailable", message, headers={"Retry-After": str(retry_after_seconds)}
        )

    @app.exception_handler(HTTPException)
    async def _http(_: Request, error: HTTPException) -> JSONResponse:
        headers = dict(error.headers) if error.headers else None
        return refuse(error.status_code, "http_error", str(error.detail), headers=headers)
