"""W3C Trace Context: which request an event came with, from a till to the row in bronze.

Source of the format: https://www.w3.org/TR/trace-context/ (level 1, header `traceparent`). The
whole of OpenTelemetry would be a lot for one line of text; whoever runs a tracer finds the ids.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, replace

HEADER = "traceparent"

# version, trace id, id of the caller's span, flags; a later version may have more behind them.
_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_INVALID_VERSION = "ff"


@dataclass(frozen=True, slots=True)
class Trace:
    """Where a call belongs.

    Attributes:
        trace_id: of the whole chain of calls: 32 hexadecimal digits, not all zero.
        span_id: of this step of it: 16 of them.
        flags: 2 of them, `01` when the caller keeps what it measures.
    """

    trace_id: str
    span_id: str
    flags: str = "00"

    @classmethod
    def begin(cls) -> Trace:
        """A new chain, of which nobody has measured anything yet."""
        return cls(secrets.token_hex(16), secrets.token_hex(8))

    @classmethod
    def read(cls, header: str) -> Trace | None:
        """What a caller sent; None when it is no valid header, which is then to be ignored."""
        found = _FORM.fullmatch(header)
        if found is None:
            return None
        version, trace_id, span_id, flags, more = found.groups()
        if version == _INVALID_VERSION or (version == "00" and more):
            return None
        if set(trace_id) == {"0"} or set(span_id) == {"0"}:
            return None
        return cls(trace_id, span_id, flags if version == "00" else f"{int(flags, 16) & 1:02x}")

    def step(self) -> Trace:
        """The next step of the same chain."""
        return replace(self, span_id=secrets.token_hex(8))

    @property
    def header(self) -> str:
        """The value of the `traceparent` header, version 00."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"
