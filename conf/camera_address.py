"""Secrets in the address of a camera: who signs in, and with what."""

from __future__ import annotations

import re

_USER_INFO = re.compile(
    r"(?<=://)(?:[^/\s]*|[^/\s@:]*:(?!\d+/)\S*)@"
    r"|(?<![^/\s])[^/\s:@?=]+:[^/\s@]+@"
)
"""Up to the last `@` before the path; also a password with a slash, which is no port, and where the
`://` is missing or misspelt."""
_PROPERTY = re.compile(
    r"(?<=[?&\s])((?:[\w-]+[-_])?(?:user|pw|pwd|pass|passwd|password|token|secret|key|auth)"
    r"(?:[-_]id)?=)(\"[^\"]*\"|[^&\s]+)",
    re.IGNORECASE,
)
"""In a query string, or of an element of a GStreamer pipeline."""


def redact(address: str) -> str:
    """An address, or a pipeline, without user and password, fit for logs."""
    return _PROPERTY.sub(r"\1***", _USER_INFO.sub("", address))


def has_secret(address: str) -> bool:
    """Whether `redact` would change it."""
    return redact(address) != address
