"""One process of the inference service, assembled from the settings."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from conf.exporter import served
from conf.logs import configure_logging
from conf.settings import Settings
from inference_service.cameras import CameraInput
from inference_service.detectors import Detector
from inference_service.metrics import InferenceMetrics
from inference_service.preview import Preview
from inference_service.publishers import open_publisher
from inference_service.service import (
    CameraStream,
    InferenceService,
    InferenceSummary,
    Limits,
    Observer,
    stop_on_signals,
)
from inference_service.sources import SourceOptions, open_source
from inference_service.stills import Stills, build_stills
from inference_service.trackers import build_tracker


def run_inference(
    settings: Settings,
    cameras: Sequence[CameraInput],
    *,
    detector: Detector,
    options: SourceOptions,
    limits: Limits,
    publisher: str | None = None,
    out: Path | None = None,
    preview: Path | None = None,
    report: Callable[[InferenceSummary], None] = lambda _: None,
) -> InferenceSummary:
    """Detect and track until the sources end, a limit is reached, or SIGINT or SIGTERM.

    Args:
        settings: of the deployment.
        cameras: to read side by side.
        detector: finds the people.
        options: of their sources; frame rates come from the cameras.
        limits: when to stop.
        publisher: kafka, pulsar or ndjson; None for the setting.
        out: the file of ndjson.
        preview: an MP4 to write, of one camera.
        report: gets the totals at the end, also of a run that failed.
    """
    configure_logging("inference", settings.log_level)
    stopping, metrics = threading.Event(), InferenceMetrics()
    stills = build_stills(settings, [one.camera.camera_id for one in cameras])
    several = len(cameras) > 1
    with ExitStack() as stack:
        streams = [
            # One camera that is away must not keep the others from starting.
            _open(settings, one, options, stack, preview=preview, stills=stills, patient=several)
            for one in cameras
        ]
        service = InferenceService(
            streams,
            detector=detector,
            publisher=open_publisher(settings, publisher, out, stopping),
            queue_frames=settings.inference.queue_frames,
            limits=limits,
            metrics=metrics,
            stopping=stopping,
        )
        port, setting = settings.inference.metrics_port, "STORELAKE_INFERENCE__METRICS_PORT"
        more = [stills.beside] if stills else []
        stack.enter_context(served(metrics.registry, settings.metrics_host, port, setting, *more))
        stack.enter_context(stop_on_signals(service))
        return service.run(report)


def _open(
    settings: Settings,
    one: CameraInput,
    options: SourceOptions,
    stack: ExitStack,
    *,
    preview: Path | None,
    stills: Stills | None,
    patient: bool,
) -> CameraStream:
    fps = replace(options, default_fps=one.camera.fps, live_fps=one.camera.fps)
    source = open_source(one.source, fps, settings.inference, patient=patient)
    observers: list[Observer] = []
    if preview:
        observers.append(stack.enter_context(Preview(preview, one.layouts, source.fps)))
    if stills:
        observers.append(stills.observer(one.camera.camera_id))
    tracker = build_tracker(settings.inference, source.fps)
    return CameraStream(one.branch.branch_id, one.camera.camera_id, source, tracker, observers)
