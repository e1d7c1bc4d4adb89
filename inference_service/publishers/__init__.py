"""Publishers: where events go. One per file, one behaviour for all.

Delivery: at least once, in the order of one key. `publish` may buffer, in bounded memory, and waits
when that is full (back-pressure); what was not acknowledged is never silently lost: `flush` or
`close` raise `PublishError`. The contract suite in the tests runs on every publisher.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Protocol

from conf.errors import StorelakeError
from conf.settings import Settings, SettingsError


class PublishError(StorelakeError):
    """Events were not delivered; the message says how many, where and why."""


class Publisher(Protocol):
    """Hands events to the outside."""

    @property
    def delivered(self) -> int:
        """Events acknowledged so far."""
        ...

    def publish(self, key: bytes, value: bytes) -> None:
        """Take one event over; waits while the buffer is full.

        Raises:
            PublishError: it was not taken, an earlier one was refused, or the publisher is closed.
        """
        ...

    def flush(self) -> None:
        """Return once all events are acknowledged.

        Raises:
            PublishError: some were not.
        """
        ...

    def close(self) -> None:
        """Flush and free; any number of times.

        Raises:
            PublishError: as `flush`.
        """
        ...


def open_publisher(
    settings: Settings,
    name: str | None = None,
    out: Path | None = None,
    stopping: threading.Event | None = None,
) -> Publisher:
    """The publisher that the settings (or `name`) choose.

    Args:
        settings: the whole tree.
        name: ``kafka`` or ``ndjson``, over the settings.
        out: the file of ``ndjson``.
        stopping: once set, a `publish` that waits for room gives up.

    Raises:
        SettingsError: an unknown name, or no file for ``ndjson``.
        PublishError: the file cannot be written.
    """
    # Only the chosen client is loaded, and they import this module themselves.
    match name or settings.inference.publisher:
        case "kafka":
            from inference_service.publishers.kafka import KafkaPublisher  # noqa: PLC0415

            return KafkaPublisher(settings.kafka, stopping=stopping)
        case "ndjson":
            from inference_service.publishers.ndjson import NdjsonPublisher  # noqa: PLC0415

            if out is None:
                raise SettingsError("the ndjson publisher needs a file: pass --out FILE")
            return NdjsonPublisher(out)
        case other:
            raise SettingsError(f"publisher {other!r} is unknown; known: kafka, ndjson")
