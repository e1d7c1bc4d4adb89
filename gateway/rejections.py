"""Why an event or a request is refused: each reason has an HTTP status and a short name.

The names are part of the interface: tills read them from answers, and the metrics count by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import BaseModel


class FieldFault(BaseModel):
    """One wrong field. The offending value is left out: it may be personal data."""

    path: str
    code: str
    message: str


class RejectionError(Exception):
    """Base of every rejection; its text is for people and never quotes the payload."""

    status: ClassVar[int]
    error: ClassVar[str]
    event_id: str | None = None
    faults: Sequence[FieldFault] = ()


class NotJsonError(RejectionError):
    """The body is no JSON document in UTF-8."""

    status, error = 400, "invalid_json"


class NotAnEventError(RejectionError):
    """The body is JSON, but not an event of the contract or not of the route."""

    status, error = 422, "invalid_event"

    def __init__(self, faults: Sequence[FieldFault], event_id: str | None = None) -> None:
        super().__init__("the event does not fit its contract")
        self.faults = faults
        self.event_id = event_id


class NotABatchError(RejectionError):
    """The body is JSON, but not an array of as many events as a batch may have."""

    status, error = 422, "invalid_batch"

    def __init__(self, code: str, message: str) -> None:
        super().__init__("the body is no batch of events")
        self.faults = [FieldFault(path="", code=code, message=message)]


class ConflictError(RejectionError):
    """The gateway took other content under the same event id before."""

    status, error = 409, "event_id_conflict"

    def __init__(self, event_id: str) -> None:
        super().__init__("this event_id was used before, for an event with other content")
        self.event_id = event_id


class TooLargeError(RejectionError):
    """More bytes than the gateway or the broker will ever take; repeating is useless."""

    status, error = 413, "too_large"


class BodyTooLargeError(TooLargeError):
    """The body is over the limit of its route; what follows of it is never read."""


class NotCompressedError(RejectionError):
    """The body cannot be decompressed by its own `Content-Encoding`."""

    status, error = 400, "invalid_encoding"


class UnknownEncodingError(RejectionError):
    """A `Content-Encoding` that the gateway cannot decompress."""

    status, error = 415, "unsupported_encoding"


class UnauthorizedError(RejectionError):
    """No key, or one that is wrong, expired or revoked: the answer is the same for all."""

    status, error = 401, "unauthorized"

    def __init__(self) -> None:
        super().__init__("a valid key is needed, as `Authorization: Bearer KEY` or `X-Api-Key`")


class ForbiddenError(RejectionError):
    """The key is valid, but not for this scope or this branch."""

    status, error = 403, "forbidden"


class TooManyError(RejectionError):
    """The client sent more events than its share; `wait` states when there is room again."""

    status, error = 429, "too_many_events"

    def __init__(self, wait: float) -> None:
        super().__init__("more than one client may send in a second")
        self.wait = wait  # seconds


class TooManyUnauthenticatedError(TooManyError):
    """The address sent more requests without a known key than its share."""

    error = "too_many_unauthenticated"


class UnavailableError(RejectionError):
    """The broker did not acknowledge in time, or cannot be reached; repeating is right."""

    status, error = 503, "broker_unavailable"


class KeysUnavailableError(UnavailableError):
    """A key that the gateway does not know cannot be looked up now; repeating is right."""

    error = "keys_unavailable"
