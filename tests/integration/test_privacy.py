"""No pixel leaves the inference process: its topic, its files, its output (V8)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from confluent_kafka import Consumer, TopicPartition
from numpy.typing import NDArray

from conf.settings import Settings
from tests.support.pictures import bytes_of, find_pictures, find_pixels
from tests.support.postgres_local import role_passwords

pytestmark = pytest.mark.requirement("V8")

CAMERA = "B03-entrance"
FRAMES = 60


@dataclass(frozen=True)
class Run:
    """One camera that has watched a clip.

    Attributes:
        frames: of the clip, as the process saw them.
        events: values of its messages.
        output: standard output and error.
        temporary: its folder for temporary files.
    """

    frames: list[NDArray[np.uint8]]
    events: list[bytes]
    output: bytes
    temporary: Path


def film(path: Path) -> None:
    """Somebody bright walks over a noisy floor."""
    rng = np.random.default_rng(7)
    floor = rng.integers(40, 90, (120, 160, 3), np.uint8)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (160, 120))
    for number in range(FRAMES):
        picture = floor.copy()
        cv2.rectangle(picture, (10 + 2 * number, 30), (30 + 2 * number, 100), (230, 220, 210), -1)
        writer.write(picture)
    writer.release()


def frames_of(path: Path) -> list[NDArray[np.uint8]]:
    video, found = cv2.VideoCapture(str(path)), []
    while (read := video.read())[0]:
        found.append(np.asarray(read[1], np.uint8))
    video.release()
    return found


def messages(settings: Settings, topic: str, key: bytes) -> list[bytes]:
    """All values of a key in a topic."""
    consumer = Consumer({"bootstrap.servers": settings.kafka.bootstrap, "group.id": "privacy"})
    try:
        found, numbers = [], consumer.list_topics(topic, timeout=10).topics[topic].partitions
        ends = {n: consumer.get_watermark_offsets(TopicPartition(topic, n))[1] for n in numbers}
        consumer.assign([TopicPartition(topic, n, 0) for n, end in ends.items() if end])
        left = sum(ends.values())
        while left:
            batch = consumer.consume(500, 5)
            assert batch, "Kafka does not give what it has"
            left -= len(batch)
            found += [m.value() for m in batch if m.key() == key]
        return [value for value in found if value]
    finally:
        consumer.close()


@pytest.fixture(scope="module")
def run(
    services: Settings, environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Run:
    clip = tmp_path_factory.mktemp("clip") / "walk.avi"
    temporary = tmp_path_factory.mktemp("temporary")
    film(clip)
    arguments = ["infer", "--camera", CAMERA, "--source", str(clip), "--detector", "motion"]
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        env={
            **environment,
            "TMPDIR": str(temporary),
            "STORELAKE_LOG_LEVEL": "DEBUG",
            **role_passwords(services.postgres),
        },
        capture_output=True,
        timeout=120,
        check=True,
    )
    events = messages(services, services.kafka.detections, f"B03/{CAMERA}".encode())
    return Run(frames_of(clip), events, done.stdout + done.stderr, temporary)


def test_the_camera_saw_somebody(run: Run) -> None:
    assert len(run.events) == len(run.frames) == FRAMES
    assert any(json.loads(event)["detections"] for event in run.events)


def test_its_messages_hold_boxes_and_ids_only(run: Run) -> None:
    whole = b"\n".join(run.events)

    assert find_pictures(whole) == []
    assert find_pixels(whole, run.frames[::10]) == []
    assert max(len(event) for event in run.events) < 5_000


def test_its_log_and_its_temporary_files_hold_no_picture(run: Run, services: Settings) -> None:
    folders = (run.temporary, services.var_dir)
    files = [f for folder in folders for f in folder.rglob("*") if f.is_file()]
    assert any("kafka" in str(f) for f in files)
    found = {}
    for file in files:
        content = bytes_of(file)
        found[str(file)] = find_pictures(content) + find_pixels(content, run.frames[::20])

    assert {name: what for name, what in found.items() if what} == {}
    assert find_pictures(run.output) == []
