"""Tests for every publisher of detection events. A subclass supplies the fixture `stage`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from inference_service.publishers import EventPublisher, PublishError

CAMERAS = (b"B01/a", b"B01/b", b"B02/c")


@dataclass
class Stage:
    """A publisher, and a way to see what arrived: the (key, value) pairs, or (None, value)."""

    publisher: EventPublisher
    arrived: Callable[[int], list[tuple[bytes | None, bytes]]]
    """arrived(count): waits for so many."""


class EventPublisherSuite:
    """Collected through its subclasses only."""

    def test_events_of_a_camera_arrive_unchanged_and_in_order(self, stage: Stage) -> None:
        sent = [(CAMERAS[n % 3], f'{{"n":{n},"text":"Straße"}}'.encode()) for n in range(300)]
        for key, value in sent:
            stage.publisher.publish(key, value)
        stage.publisher.flush()
        assert stage.publisher.delivered == 300
        came = stage.arrived(300)
        keys = {value: key for key, value in sent}
        assert all(key in (None, keys[value]) for key, value in came)
        for camera in CAMERAS:
            assert [v for _, v in came if keys[v] == camera] == [v for k, v in sent if k == camera]

    def test_closing_flushes_and_may_be_repeated(self, stage: Stage) -> None:
        stage.publisher.publish(b"k", b"{}")
        stage.publisher.close()
        stage.publisher.close()
        assert [value for _, value in stage.arrived(1)] == [b"{}"]
        assert stage.publisher.delivered == 1

    def test_a_closed_publisher_takes_no_event(self, stage: Stage) -> None:
        stage.publisher.close()
        with pytest.raises(PublishError, match="closed"):
            stage.publisher.publish(b"k", b"{}")

    def test_flushing_nothing_is_fine(self, stage: Stage) -> None:
        stage.publisher.flush()
        assert stage.publisher.delivered == 0
