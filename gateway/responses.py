"""Everything that leaves the gateway is JSON, the rejections too, in one shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from gateway.bodies import ENCODINGS
from gateway.intake import Taken
from gateway.rejections import (
    BodyTooLargeError,
    FieldFault,
    RejectionError,
    TooManyError,
    TooManyUnauthenticatedError,
    UnauthorizedError,
    UnavailableError,
    UnknownEncodingError,
)

_LAST = {"Connection": "close"}
"""The rest of the body is not read, so the connection cannot carry another request."""


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


class BatchResult(BaseModel):
    """Outcome of one event of a batch: where it is, or why it was refused."""

    index: int
    status: int
    event_id: str | None = None
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    error: str | None = None
    message: str | None = None
    fields: list[FieldFault] | None = None


class BatchAnswer(BaseModel):
    """Outcomes of a batch, event by event, in its order."""

    accepted: int
    refused: int
    results: list[BatchResult]


def taken(event: Taken) -> JSONResponse:
    """202 for an event that is new on its topic, 200 for one that was there before."""
    # A finished response: FastAPI would validate and serialise a model once more.
    return JSONResponse(_place(event), _status(event))


def batch_taken(results: Sequence[Taken | RejectionError], retry_after: int) -> JSONResponse:
    """202 when the broker has all events, else 207: then each result has its own status."""
    rejections = [result for result in results if isinstance(result, RejectionError)]
    waiting = any(isinstance(rejection, UnavailableError) for rejection in rejections)
    answer = {
        "accepted": len(results) - len(rejections),
        "refused": len(rejections),
        "results": [_result(index, result) for index, result in enumerate(results)],
    }
    headers = {"Retry-After": str(retry_after)} if waiting else None
    return JSONResponse(answer, 207 if rejections else 202, headers)


def refuse(
    status: int,
    error: str,
    message: str,
    fields: Sequence[FieldFault] = (),
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """A rejection in the one shape."""
    body = Refused(error=error, message=message, fields=list(fields))
    return JSONResponse(body.model_dump(), status, headers)


def answer_rejection(error: RejectionError, retry_after: int) -> JSONResponse:
    """The answer to a request that is refused as a whole."""
    headers = _headers(error, retry_after)
    return refuse(error.status, error.error, _message(error), error.faults, headers)


def install_rejections(app: FastAPI, retry_after: int) -> None:
    """Answer each rejection of the gateway, and those of the framework, in that shape."""

    @app.exception_handler(RejectionError)
    async def _rejection(_: Request, error: RejectionError) -> JSONResponse:
        return answer_rejection(error, retry_after)

    @app.exception_handler(HTTPException)
    async def _http(_: Request, error: HTTPException) -> JSONResponse:
        headers = dict(error.headers) if error.headers else None
        return refuse(error.status_code, "http_error", str(error.detail), headers=headers)


def _headers(error: RejectionError, retry_after: int) -> dict[str, str]:
    if isinstance(error, UnauthorizedError):
        return {"WWW-Authenticate": 'Bearer realm="storelake"', **_LAST}
    if isinstance(error, UnavailableError):
        return {"Retry-After": str(retry_after)}
    if isinstance(error, TooManyError):
        wait = {"Retry-After": str(max(1, math.ceil(error.wait)))}
        return wait | (_LAST if isinstance(error, TooManyUnauthenticatedError) else {})
    if isinstance(error, BodyTooLargeError):
        return _LAST
    if isinstance(error, UnknownEncodingError):
        return {"Accept-Encoding": ENCODINGS}
    return {}


def _message(error: RejectionError) -> str:
    if isinstance(error, UnavailableError):
        return f"{error}; repeat with the same event_id, the event may have arrived already"
    return str(error)


def _status(event: Taken) -> int:
    return 200 if event.repeated else 202


def _place(event: Taken) -> dict[str, Any]:
    at = event.receipt
    return {
        "event_id": event.event_id,
        "topic": at.topic,
        "partition": at.partition,
        "offset": at.offset,
    }


def _result(index: int, result: Taken | RejectionError) -> dict[str, Any]:
    if isinstance(result, Taken):
        return {"index": index, "status": _status(result), **_place(result)}
    return {
        "index": index,
        "status": result.status,
        "event_id": result.event_id,
        "error": result.error,
        "message": _message(result),
        "fields": [fault.model_dump() for fault in result.faults],
    }
