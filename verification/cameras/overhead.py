"""What the inference service costs over its model: the same clip with and without the service."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from conf.settings import Settings
from inference_service.detectors import Detector
from inference_service.publishers.ndjson import NdjsonPublisher
from inference_service.service import CameraStream, InferenceService, InferenceSummary, Limits
from inference_service.sources import SourceOptions, open_source
from inference_service.trackers import build_tracker


def bare(clip: Path, detector: Detector, limit: int | None = None) -> float:
    """Frames a second of decoding and detecting, one after the other.

    Args:
        clip: a video file.
        detector: what looks at it.
        limit: so many frames at most.
    """
    capture = cv2.VideoCapture(str(clip))
    frames = 0
    started = time.perf_counter()
    while frames != limit and (read := capture.read())[0]:
        detector.detect({"bare": np.asarray(read[1], np.uint8)})
        frames += 1
    seconds = time.perf_counter() - started
    capture.release()
    return frames / seconds


def serve(
    settings: Settings,
    clip: Path,
    detector: Detector,
    options: SourceOptions | None = None,
    *,
    cameras: int = 1,
    limits: Limits | None = None,
) -> InferenceSummary:
    """One run of the service, its events into a file that is thrown away."""
    streams = []
    for number in range(cameras):
        source = open_source(str(clip), options or SourceOptions())
        tracker = build_tracker(settings.inference, source.fps)
        streams.append(CameraStream("B01", f"camera-{number}", source, tracker))
    with tempfile.TemporaryDirectory() as folder:
        return InferenceService(
            streams,
            detector=detector,
            publisher=NdjsonPublisher(Path(folder) / "events.ndjson"),
            queue_frames=settings.inference.queue_frames,
            limits=limits,
        ).run()
