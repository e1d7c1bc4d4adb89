"""The body of a request, counted while it is read, and decompressed within the same limit."""

from __future__ import annotations

import zlib

from starlette.requests import Request

from gateway.rejections import (
    BodyTooLargeError,
    NotCompressedError,
    TooLargeError,
    UnknownEncodingError,
)

_WBITS = {"gzip": 31, "x-gzip": 31, "deflate": zlib.MAX_WBITS}
"""Content coding (RFC 9110, 8.4.1) -> `wbits` of zlib."""
ENCODINGS = "gzip, deflate, identity"


async def read_body(request: Request, max_bytes: int) -> bytes:
    """Read and decompress the body, `max_bytes` at most, before and after.

    Raises:
        BodyTooLargeError: as soon as the limit is passed; the rest is never read.
        TooLargeError: the decompressed body passes the limit.
        NotCompressedError: the body does not have the encoding that it names.
        UnknownEncodingError: an encoding that is none of `ENCODINGS`.
    """
    body = await _received(request, max_bytes)
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in _WBITS:
        raise UnknownEncodingError(f"Content-Encoding should be one of {ENCODINGS}")
    return _decompressed(body, encoding, max_bytes)


async def _received(request: Request, max_bytes: int) -> bytes:
    """The body as sent; counted, since a chunked one has no length to believe."""
    declared = request.headers.get("content-length", "")
    too_large = f"the body is over {max_bytes} bytes"
    if declared.isdecimal() and int(declared) > max_bytes:
        raise BodyTooLargeError(too_large)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise BodyTooLargeError(too_large)
    return bytes(body)


def _decompressed(body: bytes, encoding: str, max_bytes: int) -> bytes:
    stream = zlib.decompressobj(_WBITS[encoding])
    try:
        # One byte more than allowed is enough to know: a bomb never grows.
        content = stream.decompress(body, max_bytes + 1)
    except zlib.error:
        raise NotCompressedError(f"the body is not {encoding}") from None
    if len(content) > max_bytes:
        raise TooLargeError(f"the decompressed body is over {max_bytes} bytes")
    if not stream.eof or stream.unused_data:
        raise NotCompressedError(f"the body is not one whole {encoding} stream")
    return content
