"""A video as a live camera of a running house, and how long its frames take to be counted."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cli import watch
from cli.check import playing
from cli.check.frames import CameraObserver
from cli.check.house import House, Tell
from cli.processes import ProcessError
from inference_service.footage import draw_clip, fetch_clip
from infra.local.process import wait_until

CAMERA = "B02-entrance"  # of a branch of its own: the shop's figures are another's
BROKER = "kafka"
DETECTOR = "motion"  # needs no weights, and leaves the processor to the streams
FPS = 5
LEAST_FRAMES = FPS  # one second, as benchmarks.footage counts people
COUNT_SECONDS = 120.0


def play(house: House, observer: CameraObserver, seconds: float, tell: Tell) -> dict[str, Any]:
    """Play the real clip in real time; what comes too late for the detector is dropped.

    Returns:
        The figures; `frames` are the events that the broker acknowledged.

    Raises:
        ProcessError: the camera died or hangs.
    """
    clip, about = choose_clip(house)
    counted = watch.FrameCounts()
    watcher = watch.watch_footfall(house.settings, counted)
    options = ["--detector", DETECTOR, "--as-camera", "--fps", str(FPS), "--seconds", str(seconds)]
    with ExitStack() as stack:
        camera = playing.play(stack, house, CAMERA, clip, BROKER, *options)
        watcher.start()
        tell(f"{seconds:g} s of {clip.name} in real time, as {CAMERA}")
        if not wait_until(camera.ended, seconds + playing.STOP_SECONDS, every=0.5):
            raise ProcessError(f"{CAMERA} has not ended; see {house.settings.var_dir}/logs")
    done = camera.totals()
    published = done["published"]
    tell("waiting until its last frame is counted")
    wait_until(lambda: observer.counted(CAMERA) >= published, COUNT_SECONDS, every=0.5)
    watcher.finish()
    wait_until(lambda: not observer.is_behind(published, CAMERA), COUNT_SECONDS, every=1.0)
    frames = [frame for frame in observer.bronze() if frame.camera_id == CAMERA]
    found = counted.latencies({CAMERA: [frame.captured_at for frame in frames]})
    latency = found.summary()
    crossings = observer.crossings(CAMERA)
    return {
        "footage": about,
        "camera": CAMERA,
        "detector": DETECTOR,
        "frames": published,
        "dropped": done["dropped"],
        "people": observer.people(CAMERA, LEAST_FRAMES),
        "entries": crossings["entry"],
        "exits": crossings["exit"],
        "measured_frames": latency["events"],
        "latency_p50_s": latency["p50"],
        "latency_p95_s": latency["p95"],
        "latency_max_s": latency["max"],
    }


def choose_clip(house: House) -> tuple[Path, str]:
    """The real clip and what it is; where it cannot be had, a drawn one that says so."""
    clip = fetch_clip(house.settings.cache_dir)
    if clip is not None:
        return clip, "vtest.avi of Debian's opencv-doc"
    drawn = draw_clip(house.settings.var_dir / "run" / "drawn.mp4", seconds=80, fps=10)
    return drawn, "drawn: Debian's opencv-doc cannot be had here"
