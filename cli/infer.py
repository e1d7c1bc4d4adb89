"""`storelake infer`: watch one camera and publish what it sees."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import console, read_settings

if TYPE_CHECKING:
    from conf.settings import Settings
    from inference_service.service import Summary
    from inference_service.sources import SourceOptions


def infer(
    *,
    camera: Annotated[str, typer.Option(help="Camera id, as in the store file.")],
    source: Annotated[
        str, typer.Option(help="Video file, folder of images, address (rtsp://...), webcam index.")
    ],
    detector: Annotated[str | None, typer.Option(help="hog or motion; else the setting.")] = None,
    publisher: Annotated[
        str | None, typer.Option(help="kafka or ndjson; else the setting.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The file of --publisher ndjson.")] = None,
    realtime: Annotated[bool, typer.Option(help="Play a file at its own speed.")] = False,
    loop: Annotated[bool, typer.Option(help="Start a file again at its end.")] = False,
    fps: Annotated[
        float | None, typer.Option(min=0.01, help="Process at most so many frames a second.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(min=0.0, help="Stop after so long.")] = None,
    max_frames: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many processed frames.")
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
    """Detect and track people of one camera and publish an event per frame, until it ends."""
    from inference_service.sources import SourceOptions

    if loop and not realtime and seconds is None and max_frames is None:
        # It would stamp events ever farther in the future.
        raise typer.BadParameter("--loop needs --realtime, --seconds or --max-frames")
    settings = read_settings()
    options = SourceOptions(realtime=realtime, loop=loop, fps=fps)
    summary = _run(
        settings,
        camera_id=camera,
        spec=source,
        options=options,
        detector=detector,
        publisher=publisher,
        out=out,
        seconds=seconds,
        max_frames=max_frames,
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


def _run(
    settings: Settings,
    *,
    camera_id: str,
    spec: str,
    options: SourceOptions,
    detector: str | None,
    publisher: str | None,
    out: Path | None,
    seconds: float | None,
    max_frames: int | None,
    preview: Path | None,
) -> Summary:
    import logging
    import threading
    from dataclasses import replace

    from conf.stores import load_stores
    from inference_service.detectors import build_detector
    from inference_service.preview import Preview
    from inference_service.publishers import open_publisher
    from inference_service.service import InferenceService, Limits, stop_on_signals
    from inference_service.sources import open_source
    from inference_service.tracker import ByteTracker

    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(message)s")
    branch, camera = load_stores(settings.stores_file).camera(camera_id)
    stopping = threading.Event()
    opened = open_source(spec, replace(options, default_fps=camera.fps), settings.inference)
    with ExitStack() as stack:
        observer = None
        if preview is not None:
            observer = stack.enter_context(Preview(preview, camera, opened.fps))
        service = InferenceService(
            branch_id=branch.branch_id,
            camera_id=camera.camera_id,
            source=opened,
            detector=build_detector(settings.inference, detector),
            tracker=ByteTracker(),
            publisher=open_publisher(settings, publisher, out, stopping),
            queue_frames=settings.inference.queue_frames,
            limits=Limits(seconds, max_frames),
            observer=observer,
            stopping=stopping,
        )
        stack.enter_context(stop_on_signals(service))
        return service.run()
