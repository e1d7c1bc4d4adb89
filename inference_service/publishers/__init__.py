"""Publishers send events to files and brokers. One per module, one behaviour for all.

Delivery: at least once, in the order of one key. `publish` may buffer, in bounded memory and on
disk (`buffered`), and waits when both are full (back-pressure); what was not acknowledged is never
silently lost: `flush` or `close` raise `PublishError`, and the disk keeps it for the next start.
The contract suite in the tests runs on every publisher.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from conf.errors import StorelakeError
from conf.settings import Settings, SettingsError

if TYPE_CHECKING:
    from inference_service.publishers.buffered import EventTransport


class PublishError(StorelakeError):
    """Events were not delivered; the message states how many, where and why."""


class EventPublisher(Protocol):
    """Sends events to a file or broker."""

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


@dataclass
class Counts:
    """What a publisher to a broker did: its attribute `counts`, for metrics.

    Attributes:
        accepted: events taken over, those that an earlier process left on disk included.
        delivered: events acknowledged.
        spooled: events that went to disk, ever.
        on_disk: events that are there now.
        waits: how often `publish` had to wait for room.
        errors: attempts that failed: no connection, or an event refused.
    """

    accepted: int = 0
    delivered: int = 0
    spooled: int = 0
    on_disk: int = 0
    waits: int = 0
    errors: int = 0


def open_publisher(
    settings: Settings,
    name: str | None = None,
    out: Path | None = None,
    stopping: threading.Event | None = None,
) -> EventPublisher:
    """The publisher that the settings (or `name`) choose.

    Args:
        settings: the whole tree.
        name: ``kafka``, ``pulsar`` or ``ndjson``, over the settings.
        out: the file of ``ndjson``.
        stopping: once set, a `publish` that waits for room gives up.

    Raises:
        SettingsError: an unknown name, a client that is not installed, or no file for ``ndjson``.
        PublishError: the file or the spool cannot be written.
    """
    # Only the chosen client is loaded, and they import this module themselves.
    match name or settings.inference.publisher:
        case "kafka":
            from inference_service.publishers.kafka import KafkaEventTransport  # noqa: PLC0415

            return _buffered(KafkaEventTransport(settings.kafka), settings, "kafka", stopping)
        case "pulsar":
            try:
                from inference_service.publishers.pulsar import PulsarEventTransport  # noqa: PLC0415
            except ModuleNotFoundError as error:
                raise SettingsError(
                    "the pulsar publisher needs pulsar-client: install storelake[pulsar]"
                ) from error
            transport = PulsarEventTransport(settings.pulsar, settings.inference.buffer_events)
            return _buffered(transport, settings, "pulsar", stopping)
        case "ndjson":
            from inference_service.publishers.ndjson import NdjsonPublisher  # noqa: PLC0415

            if out is None:
                raise SettingsError("the ndjson publisher needs a file: pass --out FILE")
            return NdjsonPublisher(out)
        case other:
            raise SettingsError(f"publisher {other!r} is unknown; known: kafka, pulsar, ndjson")


def _buffered(
    transport: EventTransport, settings: Settings, name: str, stopping: threading.Event | None
) -> EventPublisher:
    from inference_service.publishers.buffered import BufferedPublisher  # noqa: PLC0415
    from inference_service.publishers.spool import Spool  # noqa: PLC0415

    limits = settings.inference
    spool = Spool(settings.spool, name, limits.spool_events)
    return BufferedPublisher(
        transport, spool, buffer_events=limits.buffer_events, stopping=stopping
    )
