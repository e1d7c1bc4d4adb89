"""A video as a live camera, and how long its frames take to be counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from conf.settings import Settings
from inference_service.footage import draw_clip, fetch_clip
from infra.local.process import wait_until
from verification import watch
from verification.cameras.frames import CameraObserver
from verification.deployment import Deployment
from verification.processes import STOP_SECONDS

CAMERA = "B02-entrance"  # of a branch of its own: the shop's figures are another's
BROKER = "kafka"
DETECTOR = "motion"  # needs no weights, and leaves the processor to the streams
FPS = 5
LEAST_FRAMES = FPS  # one second, as benchmarks.footage counts people
COUNT_SECONDS = 120.0


def play(deployment: Deployment, observer: CameraObserver, seconds: float) -> dict[str, Any]:
    """Play the real clip in real time; frames that come too late for the detector are dropped.

    Returns:
        The figures; `frames` are the events that the broker acknowledged.

    Raises:
        ProcessError: the camera died or hangs.
    """
    clip, about = real_clip(deployment.settings)
    counted = watch.FrameCounts()
    watcher = watch.watch_footfall(deployment.settings, counted)
    options = ["--detector", DETECTOR, "--as-camera", "--fps", str(FPS), "--seconds", str(seconds)]
    with deployment.run_camera(CAMERA, {CAMERA: clip}, BROKER, *options) as camera:
        watcher.start()
        deployment.step(f"{seconds:g} s of {clip.name} in real time, as {CAMERA}")
        deployment.require(camera.ended, seconds + 2 * STOP_SECONDS, f"{CAMERA} has not ended")
    done = camera.totals()
    published = done["published"]
    deployment.step("waiting until its last frame is counted")
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


def real_clip(settings: Settings) -> tuple[Path, str]:
    """A clip of real people and its description; a generated one where that cannot be fetched."""
    clip = fetch_clip(settings.cache_dir)
    if clip is not None:
        return clip, "vtest.avi of Debian's opencv-doc: people filmed by a fixed camera"
    generated = settings.var_dir / "run" / "generated.mp4"
    generated.parent.mkdir(parents=True, exist_ok=True)
    draw_clip(generated, seconds=80, fps=10)
    return generated, "generated: Debian's opencv-doc cannot be fetched here"
