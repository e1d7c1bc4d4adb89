"""`storelake infer`: detect and track people in camera streams, and publish events."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import read_settings
from infra.terminal import console, error_console

if TYPE_CHECKING:
    from conf.settings import Settings
    from inference_service.service import InferenceSummary


def infer(
    *,
    camera: Annotated[
        list[str] | None,
        typer.Option(help="Camera id; may be repeated. Without it: all that have a source."),
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(
            help="Video file, folder of images, address (rtsp://...), webcam index; in the order "
            "of --camera; else the one of the store file or the settings."
        ),
    ] = None,
    detector: Annotated[
        str | None, typer.Option(help="ssd, yolo, onnx, hog or motion; else the setting.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Model of ssd, yolo or onnx; else the setting.")
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
        typer.Option(help="As --realtime; frames for which the detector is too slow are dropped."),
    ] = False,
    loop: Annotated[bool, typer.Option(help="Start a file again at its end.")] = False,
    start: Annotated[
        datetime | None,
        typer.Option(
            help="When the first frame of a file was taken, in UTC; else it ends now, or with "
            "--realtime begins now."
        ),
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
    """Detect and track people, and publish an event for each frame."""
    import json
    from dataclasses import asdict

    from inference_service.cameras import choose_cameras
    from inference_service.detectors import build_detector, describe
    from inference_service.run import run_inference
    from inference_service.service import Limits
    from inference_service.sources import SourceOptions

    if loop and not (realtime or as_camera) and seconds is None and max_frames is None:
        # It would stamp events ever farther in the future.
        raise typer.BadParameter("--loop needs --realtime, --seconds or --max-frames")
    settings = _adjusted(detector=detector, weights=weights, device=device, tracker=tracker)
    cameras = choose_cameras(settings, *_checked(settings, camera or [], source or []))
    if preview is not None and len(cameras) > 1:
        raise typer.BadParameter("--preview shows one camera: name it with --camera")
    for file in filter(None, (preview, summary_file)):
        _prepare(file)
    options = SourceOptions(
        realtime=realtime,
        loop=loop,
        latest=as_camera,
        fps=fps,
        every=every or settings.inference.every_nth,
        started_at=start.replace(tzinfo=timezone.utc) if start else None,
    )
    finder = build_detector(settings)
    error_console().print(describe(finder), highlight=False, soft_wrap=True)

    def report(summary: InferenceSummary) -> None:
        console().print(
            f"{summary.read} frames read, {summary.processed} processed, {summary.published} "
            f"events published, {summary.dropped} frames dropped; {summary.inference_ms} ms a "
            f"detection, {summary.seconds} s",
            highlight=False,
        )
        if summary_file is not None:
            summary_file.write_text(json.dumps(asdict(summary)) + "\n", encoding="utf-8")

    run_inference(
        settings,
        cameras,
        detector=finder,
        options=options,
        limits=Limits(seconds, max_frames),
        publisher=publisher,
        out=out,
        preview=preview,
        report=report,
    )


def _prepare(file: Path) -> None:
    """Create a file before the run, at whose end a fault would cost its content.

    Raises:
        StorelakeError: it cannot be written.
    """
    from conf.errors import StorelakeError

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.open("ab").close()
    except OSError as error:
        raise StorelakeError(f"{file} cannot be written: {error.strerror}.") from error


def _adjusted(**options: str | Path | None) -> Settings:
    """The settings with these options of inference over them, validated in the same way."""
    from conf.settings import load_settings

    settings = read_settings()
    given = {key: value for key, value in options.items() if value is not None}
    if not given:
        return settings
    return load_settings(inference={**settings.inference.model_dump(), **given})


def _checked(
    settings: Settings, cameras: list[str], sources: list[str]
) -> tuple[list[str], list[str]]:
    """The options --camera and --source; a source alone belongs to the first camera."""
    from inference_service.cameras import all_cameras

    if sources and not cameras:
        cameras = all_cameras(settings)[:1]
        console().print(f"--camera was not given: played as {cameras[0]}", highlight=False)
    if len(sources) > len(cameras):
        raise typer.BadParameter("each --source needs a --camera of its own")
    if len(set(cameras)) < len(cameras):
        raise typer.BadParameter("a --camera was given twice")
    return cameras, sources
