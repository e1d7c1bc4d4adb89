"""Messages that wait in Kafka before the streams start."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, timezone
from uuid import uuid4

from confluent_kafka import Producer

from conf.kafka import producer_config
from conf.settings import Settings
from conf.stores import Point, Stores
from simulator.history import detection_fields
from streaming.sinks.kafka_producer import produce
from verification.processes import ProcessError

FPS = 5
VISIT_FRAMES = 100
"""Frames that show an object, until another one takes its place."""


def objects(index: int, count: int) -> Iterator[tuple[str, Point]]:
    """People who walk through the picture from left to right, each on a way of their own."""
    for number in range(count):
        track, step = divmod(index + number * VISIT_FRAMES // count, VISIT_FRAMES)
        yield f"{track}-{number}", (0.05 + 0.9 * step / VISIT_FRAMES, 0.3 + 0.6 * number / count)


def detection_events(stores: Stores, frames: int, per_frame: int) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of each frame, the cameras of the store file by turns."""
    cameras = [(b.branch_id, c.camera_id, uuid4().hex) for b in stores.branches for c in b.cameras]
    start = datetime.now(timezone.utc) - timedelta(seconds=frames / len(cameras) / FPS + 60)
    for number in range(frames):
        index, camera = divmod(number, len(cameras))
        branch_id, camera_id, run_id = cameras[camera]
        captured_at = start + timedelta(seconds=index / FPS)
        event = {
            "event_id": str(uuid4()),
            "branch_id": branch_id,
            "camera_id": camera_id,
            "run_id": run_id,
            "frame_index": index,
            **detection_fields(captured_at, list(objects(index, per_frame))),
        }
        value = json.dumps(event, separators=(",", ":")).encode()
        yield f"{branch_id}/{camera_id}".encode(), value


def fill_topic(settings: Settings, topic: str, messages: Iterable[tuple[bytes, bytes]]) -> int:
    """Send (key, value) pairs to a topic; returns the bytes of the values."""
    producer, size = Producer(producer_config(settings.kafka, "admin")), 0
    for key, value in messages:
        produce(producer, topic, value, key)
        producer.poll(0)
        size += len(value)
    if producer.flush(60):
        raise ProcessError("Kafka did not take every message")
    return size
