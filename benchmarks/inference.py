"""What the inference service costs over its model, and whether four cameras keep up.

    python -m benchmarks.inference [--detector onnx] [--video FILE]

The floor is a loop that decodes a frame and shows it to the same detector, with nothing around it.
The service does the same work, and tracks and publishes (to a file) as well; both take the same
clip as fast as they can, in turn. Then cameras play the clip at 5 frames a second each, and what
the service is too slow for is dropped and counted, as with a real camera.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

from benchmarks import Out, notify, print_result
from conf.settings import Settings, load_settings
from inference_service.detectors import build_detector
from inference_service.footage import draw_clip
from inference_service.service import Limits
from inference_service.sources import SourceOptions
from verification.cameras.overhead import bare, serve
from verification.processes import cpu_seconds

CAMERA_FPS = 5.0
RUNS, CAMERAS, SECONDS = 5, 4, 30.0


def against_the_floor(settings: Settings, clip: Path) -> dict[str, Any]:
    """Service and bare loop in turn, so that a busy machine slows both."""
    detector = build_detector(settings)
    floor, service, share, stages = [], [], [], []
    cpu: dict[str, list[float]] = {"bare": [], "service": []}
    for run in range(RUNS):
        notify(f"run {run + 1} of {RUNS}")
        clock = time.process_time()
        floor.append(bare(clip, detector))
        cpu["bare"].append(time.process_time() - clock)
        clock = time.process_time()
        done = serve(settings, clip, detector)
        cpu["service"].append(time.process_time() - clock)
        service.append(done.processed / done.seconds)
        around = (done.track_ms + done.publish_ms) * done.processed / 1000
        share.append(around / done.seconds)
        stages.append(
            {"detect": done.inference_ms, "track": done.track_ms, "publish": done.publish_ms}
        )
    return {
        "fps_bare_model": [round(v, 1) for v in floor],
        "fps": [round(v, 1) for v in service],
        "ratio": round(median(service) / median(floor), 3),
        "track_and_publish_share": round(median(share), 3),
        # Of both loops together on all cores: what a busy machine does not stretch.
        "cpu_ms_a_frame": {
            key: round(1000 * median(spent) / done.processed, 1) for key, spent in cpu.items()
        },
        "stage_ms": {key: round(median(s[key] for s in stages), 3) for key in stages[0]},
    }


def keep_up(settings: Settings, clip: Path) -> dict[str, Any]:
    """Several cameras at 5 frames a second, late frames dropped."""
    notify(f"{CAMERAS} cameras for {SECONDS:g} s")
    detector = build_detector(settings)
    before = cpu_seconds()["driver"]
    options = SourceOptions(loop=True, latest=True, fps=CAMERA_FPS)
    done = serve(settings, clip, detector, options, cameras=CAMERAS, limits=Limits(seconds=SECONDS))
    return {
        "cameras": CAMERAS,
        "fps_each": CAMERA_FPS,
        "seconds": done.seconds,
        "read": done.read,
        "processed": done.processed,
        "dropped": done.dropped,
        "detect_ms": done.inference_ms,
        "cores_used": round((cpu_seconds()["driver"] - before) / done.seconds, 2),
    }


def main(
    *,
    detector: str = "onnx",
    video: Annotated[
        Path | None, typer.Option(help="Instead of synthetic figures of 640 x 480 pixels.")
    ] = None,
    out: Out = None,
) -> None:
    """Measure both."""
    settings = load_settings(inference={"detector": detector})
    with tempfile.TemporaryDirectory() as folder:
        clip = video or draw_clip(Path(folder) / "clip.mp4", seconds=30, fps=10)
        result = {
            "video": clip.name,
            "detector": settings.inference.detector,
            "tracker": settings.inference.tracker,
            "image_size": settings.inference.image_size,
            "against_the_floor": against_the_floor(settings, clip),
            "cameras": keep_up(settings, clip),
        }
    print_result(result, out)


if __name__ == "__main__":
    typer.run(main)
