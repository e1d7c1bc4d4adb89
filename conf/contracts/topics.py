"""Which topic carries which type of order event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from conf.contracts.order_event import EVENT_TYPES

if TYPE_CHECKING:
    from conf.settings import KafkaSettings


def event_topics(kafka: KafkaSettings) -> Mapping[str, str]:
    """Type of an event -> its topic; returns share that of status changes and generic events."""
    topics = (*kafka.order_topics, kafka.order_events)
    return dict(zip(EVENT_TYPES, topics, strict=True))
