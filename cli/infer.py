"""`storelake infer`: watch cameras and publish what they see."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import read_settings
from conf.terminal import console

if TYPE_CHECKING:
    from conf.settings import Settings
    from conf.stores import Branch, Camera, Stores
    from inference_service.service import Limits, Summary
    from inference_service.sources import SourceOptions


def infer(
    *,
    camera: Annotated[
        list[str] | None,
        typer.Option(help="Camera id, as in the store file; may be repeated. Without: all there."),
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(
            help="Video file, folder of images, address (rtsp://...), webcam index; in the order "
            "of --camera. Without: as the store file or the settings say."
        ),
    ] = None,
    detector: Annotated[
        str | None, typer.Option(help="yolo, onnx, hog or motion; else the setting.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Model of yolo or onnx; else the setting.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda:N.")] = None,
    tracker: Annotated[
        str | None, typer.Option(help="bytetrack, botsort or deepsort; else the setting.")
    ] = None,
    publisher: Annotated[
        str | None, typer.Option(help="kafka, pulsar or ndjson; else the setting.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The file of --publisher ndjson.")] = None,
    realtime: Annotated[bool, typer.Option(help="Play a file at its own speed.")] = False,
    as_camera: Annotated[
        bool,
        typer.Option(
            help="As --realtime, and what the detector is too slow for is dropped, as of a camera."
        ),
    ] = False,
    loop: Annotated[bool, typer.Option(help="Start a file again at its end.")] = False,
    start: Annotated[
        datetime | None,
        typer.Option(help="When the first frame of a file was taken, in UTC; else now."),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(min=0.01, help="Process at most so many frames a second of each camera."),
    ] = None,
    every: Annotated[
        int | None, typer.Option(min=1, help="Process only every Nth frame; else the setting.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(min=0.0, help="Stop after so long.")] = None,
    max_frames: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many processed frames in all.")
    ] = None,
    preview: Annotated[
        Path | None,
        typer.Option(
            help="Write an MP4 with boxes, ids and lines: a local debug picture for the operator "
            "only. It shows people; it is never published."
        ),
    ] = None,
    summary_file: Annotated[
        Path | None, typer.Option("--summary", help="Write the totals of the run as JSON.")
    ] = None,
) -> None:
    """Detect and track people of one or more cameras, and publish an event per frame."""
    from inference_service.service import Limits
    from inference_service.sources import SourceOptions

    if loop and not (realtime or as_camera) and seconds is None and max_frames is None:
        # It would stamp events ever farther in the future.
        raise typer.BadParameter("--loop needs --realtime, --seconds or --max-frames")
    settings = _adjusted(read_settings(), detector, weights, device, tracker)
    options = SourceOptions(
        realtime=realtime,
        loop=loop,
        latest=as_camera,
        fps=fps,
        every=every or settings.inference.every_nth,
        started_at=start.replace(tzinfo=timezone.utc) if start else None,
    )
    wanted = _choose(settings, camera or [], source or [])
    if preview is not None and len(wanted) > 1:
        raise typer.BadParameter("--preview shows one camera: name it with --camera")
    summary = _run(
        settings,
        wanted,
        options=options,
        publisher=publisher,
        out=out,
        limits=Limits(seconds, max_frames),
        preview=preview,
    )
    console().print(
        f"{summary.read} frames read, {summary.processed} processed, {summary.published} events "
        f"published, {summary.dropped} frames dropped; {summary.inference_ms} ms a detection, "
        f"{summary.seconds} s",
        highlight=False,
    )
    if summary_file is not None:
        summary_file.write_text(json.dumps(asdict(summary)) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class _Wanted:
    """A camera and what it is read from."""

    branch: Branch
    camera: Camera
    source: str


def _adjusted(
    settings: Settings,
    detector: str | None,
    weights: Path | None,
    device: str | None,
    tracker: str | None,
) -> Settings:
    """The settings with what the command line says over them, checked in the same way."""
    from conf.settings import load_settings

    said = {"detector": detector, "weights": weights, "device": device, "tracker": tracker}
    said = {key: value for key, value in said.items() if value is not None}
    if not said:
        return settings
    return load_settings(inference={**settings.inference.model_dump(), **said})


def _choose(settings: Settings, cameras: list[str], sources: list[str]) -> list[_Wanted]:
    """The cameras that were named, else all of the store file that have a source."""
    from conf.settings import SettingsError
    from conf.stores import load_stores

    stores = load_stores(settings.stores_file)
    if sources and not cameras:
        cameras = [_first(stores)]
        console().print(f"--camera was not given: played as {cameras[0]}", highlight=False)
    if len(sources) > len(cameras):
        raise typer.BadParameter("each --source needs a --camera of its own")
    if len(set(cameras)) < len(cameras):
        raise typer.BadParameter("a --camera was given twice")
    if not cameras:
        known = [c.camera_id for b in stores.branches for c in b.cameras]
        cameras = [c for c in known if _configured(settings, stores, c)]
        if not cameras:
            raise SettingsError(
                f"no camera of {settings.stores_file} has a source: give --camera and --source, or "
                "STORELAKE_INFERENCE__SOURCES"
            )
    wanted = []
    for camera_id, named in zip_longest(cameras, sources):
        branch, camera = stores.camera(camera_id)
        source = named or _configured(settings, stores, camera_id)
        if source is None:
            raise SettingsError(
                f"camera {camera_id} has no source: give --source, a `source` in "
                f"{settings.stores_file}, or STORELAKE_INFERENCE__SOURCES"
            )
        wanted.append(_Wanted(branch, camera, source))
    return wanted


def _configured(settings: Settings, stores: Stores, camera_id: str) -> str | None:
    secret = settings.inference.sources.get(camera_id)
    return secret.get_secret_value() if secret else stores.camera(camera_id)[1].source


def _spool(wanted: list[_Wanted]) -> str:
    """The name of the file on disk: processes with other cameras have another one."""
    return "+".join(sorted(one.camera.camera_id for one in wanted))


def _first(stores: Stores) -> str:
    return next(c.camera_id for b in stores.branches for c in b.cameras)


def _run(
    settings: Settings,
    wanted: list[_Wanted],
    *,
    options: SourceOptions,
    publisher: str | None,
    out: Path | None,
    limits: Limits,
    preview: Path | None,
) -> Summary:
    import threading
    from dataclasses import replace

    from conf.exporter import served
    from conf.logs import configure_logging
    from inference_service.detectors import build_detector
    from inference_service.metrics import Metrics
    from inference_service.preview import Preview
    from inference_service.publishers import open_publisher
    from inference_service.service import InferenceService, Stream, stop_on_signals
    from inference_service.sources import open_source
    from inference_service.trackers import build_tracker

    configure_logging("inference", settings.log_level)
    stopping, metrics = threading.Event(), Metrics()
    with ExitStack() as stack:
        streams = []
        for one in wanted:
            opened = open_source(
                one.source,
                replace(options, default_fps=one.camera.fps, live_fps=one.camera.fps),
                settings.inference,
                # One camera that is away must not keep the others from starting.
                patient=len(wanted) > 1,
            )
            observer = None
            if preview is not None:
                observer = stack.enter_context(Preview(preview, one.camera, opened.fps))
            tracking = build_tracker(settings.inference, opened.fps)
            streams.append(
                Stream(one.branch.branch_id, one.camera.camera_id, opened, tracking, observer)
            )
        service = InferenceService(
            streams,
            detector=build_detector(settings),
            publisher=open_publisher(settings, publisher, out, stopping, _spool(wanted)),
            queue_frames=settings.inference.queue_frames,
            limits=limits,
            metrics=metrics,
            stopping=stopping,
        )
        stack.enter_context(
            served(
                metrics.registry,
                settings.metrics_host,
                settings.inference.metrics_port,
                "STORELAKE_INFERENCE__METRICS_PORT",
            )
        )
        stack.enter_context(stop_on_signals(service))
        return service.run()
