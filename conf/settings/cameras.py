"""Settings of the inference service: sources, detector, tracker, publisher."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from conf.settings.base import Frozen, Port, Secret


class InferenceSettings(Frozen):
    """The inference service: sources, detector, tracker, publisher."""

    sources: dict[str, SecretStr] = Field(default_factory=dict)
    """Camera id -> address, file or webcam; overrides the store file. Only here an address may have
    a password."""
    detector: Literal["ssd", "yolo", "onnx", "hog", "motion"] = "ssd"
    """Detector of persons (docs/CAMERAS.md compares them)."""
    weights: Path | None = None
    """Model of `yolo` (.pt, .onnx, .engine), `onnx` or `ssd` (.tflite). By default `ssd` runs one
    that npm fetches, the others the one in the package, trained on simulated shops only."""
    person_class: str = "person"
    """Class of persons in the model: a name, or a class number."""
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda:\d+)$")
    """auto, cpu or cuda:N."""
    image_size: int | None = Field(default=None, ge=32, multiple_of=32)
    """Longer side of a model's input in pixels; by default 768 for `ssd`, else 320; ignored by a
    model with a fixed size."""
    threads: int = Field(default=0, ge=0)
    """Threads of the detectors `ssd` and `onnx`; 0: one for each core."""
    tracker: Literal["bytetrack", "botsort", "deepsort"] = "bytetrack"
    """Tracker of persons (docs/CAMERAS.md compares them)."""
    track_confidence: float = Field(default=0.5, ge=0, le=1)
    """Minimum confidence of a detection to start a track."""
    lost_seconds: float = Field(default=2.0, gt=0)
    """How long a track without detections can continue."""
    publisher: Literal["kafka", "pulsar", "ndjson"] = "kafka"
    """Where events are published; ndjson: to a file."""
    buffer_events: int = Field(default=2_000, ge=1)
    """Maximum number of events in memory that the broker has not acknowledged."""
    spool_events: int = Field(default=200_000, ge=0)
    """Maximum number of events of one publisher on disk while the broker is away; then the
    publisher waits."""
    hog_upscale: float = Field(default=1.5, gt=0)
    """Factor by which `hog` enlarges a frame."""
    min_confidence: float = Field(default=0.3, ge=0, le=1)
    """Minimum confidence of a detection."""
    every_nth: int = Field(default=1, ge=1)
    """Only every Nth frame is processed."""
    reconnect_base_seconds: float = Field(default=0.5, gt=0)
    """Pause before the first reconnection; it doubles each time."""
    reconnect_max_seconds: float = Field(default=30.0, gt=0)
    """Maximum pause before a reconnection."""
    read_timeout_seconds: float = Field(default=5.0, gt=0)
    """A camera without a frame for this long is reopened."""
    queue_frames: int = Field(default=16, ge=1)
    """Decoded frames of a file that wait for the detector; of a camera: one."""
    metrics_port: Port = 18081
    """Port of /metrics at `metrics_host`; 0: none."""
    stills: bool = False
    """Whether the console may fetch the newest picture of a camera from that port, for an operator
    who draws zones (docs/PRIVACY.md). It is not stored."""
    stills_secret: Secret | None = Field(default=None, min_length=12)
    """Secret between the console and this service; needed where `metrics_host` is not loopback."""
