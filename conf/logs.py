"""What every process logs: JSON in files and pipes, text on a terminal, with the same names.

Fields (docs/MONITORING.md has the table): `timestamp`, `level`, `process`, `logger`, `event`, and
what the line is about: `request_id`, `trace_id`, `stream`, `camera`, `table`, `error`, `exception`.
Never a payload, never a secret.
"""

from __future__ import annotations

import logging
import re
import sys
from contextlib import suppress
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict, WrappedLogger


def configure_logging(process: str, level: str, stream: TextIO | None = None) -> None:
    """Send our log lines, and those of libraries, to `stream` (stderr by default).

    A terminal gets text with colors, everything else one JSON object a line. Lines of structlog go
    straight to the stream: the gateway writes one for every request, and the standard library would
    take as long to write it as the gateway takes to check an event. Those of the standard library
    get its `extra` as fields.

    Args:
        process: `gateway`, `streams`, `inference`, `quality`, `maintenance`, ...
        level: from which one on.
        stream: where to.
    """
    # Not `sys.stderr`, which a caller may have replaced for a while: this is for good.
    out = stream or sys.__stderr__ or sys.stderr
    renderer: Any = _text if writes_text(out) else structlog.processors.JSONRenderer()

    def named(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
        line.setdefault("logger", process)
        line["process"] = process
        line.pop("color_message", None)  # of uvicorn: the event with escape sequences
        return line

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        named,
    ]
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_logger_name,
                structlog.stdlib.ExtraAdder(),
                *shared,
            ],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _Dropping(out))),
    )


class _Dropping:
    """A stream that drops what cannot be written, as `logging` does: a full disk ends no work."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def writes_text(stream: TextIO | None = None) -> bool:
    """Whether log lines to a stream (stderr by default) are text: it is a terminal."""
    return (stream or sys.__stderr__ or sys.stderr).isatty()


_RENDERER = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters, and halves of surrogate pairs, which UTF-8 does not have."""


def _text(logger: WrappedLogger, name: str, line: EventDict) -> str:
    """A line of text, and below it the traceback as Python prints it."""
    clean = {k: without_controls(v) if isinstance(v, str) else v for k, v in line.items()}
    return _RENDERER(logger, name, clean)


def without_controls(text: str) -> str:
    """A text for a terminal, on which a control character of a sender must do nothing."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)
