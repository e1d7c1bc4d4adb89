"""Frames a second on a GPU, with the service and without: `python -m benchmarks.gpu`.

A YOLO11n runs as .pt in half precision, as .onnx on CUDA and as TensorRT .engine; each looks at 1,
4 and 16 cameras. The floor is a loop that shows frames from memory to the same detector; the
service decodes, tracks and publishes (to a file) as well. Without `--weights` the model has random
weights, which cost as much a frame. It takes under five minutes, most of it TensorRT's build.
No machine with a GPU has run it yet.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import Out, notify, print_result
from conf.errors import StorelakeError, first_line
from conf.settings import Settings, load_settings
from conf.vendor import keep_ultralytics_at_home
from inference_service.detections import Image
from inference_service.detectors import Detector, build_detector
from inference_service.footage import draw_clip
from inference_service.service import Limits
from inference_service.sources import open_source
from verification.cameras.overhead import serve

CAMERAS = (1, 4, 16)
SECONDS = 4.0
IMAGE_SIZE = 640
KINDS = {".pt": "yolo", ".onnx": "onnx", ".engine": "yolo"}


def require_gpu() -> str:
    """The name of the first GPU.

    Raises:
        StorelakeError: torch is missing, or sees no GPU.
    """
    try:
        import torch  # noqa: PLC0415 - of the extra `yolo`
    except ImportError as error:
        raise StorelakeError(
            "This benchmark needs torch and ultralytics: pip install 'storelake[yolo]'."
        ) from error
    if not torch.cuda.is_available():
        raise StorelakeError("This benchmark needs an NVIDIA GPU, and torch sees none here.")
    return str(torch.cuda.get_device_name(0))


def export(weights: Path | None, suffix: str, folder: Path) -> Path:
    """The model in one format, in half precision but for .onnx, with an open batch."""
    import ultralytics  # noqa: PLC0415 - of the extra `yolo`

    yolo = ultralytics.YOLO(str(weights or "yolo11n.yaml"), task="detect")
    path = folder / "model.pt"
    yolo.save(str(path))
    if suffix == ".pt":
        return path
    precision = {"quantize": 16} if suffix == ".engine" else {}
    exported = ultralytics.YOLO(str(path)).export(
        format=suffix.lstrip("."),
        imgsz=IMAGE_SIZE,
        dynamic=True,
        batch=max(CAMERAS),
        device=0,
        **precision,
    )
    return Path(exported)


def bare(detector: Detector, frames: list[Image], cameras: int) -> float:
    """Frames a second of the detector alone, on frames in memory."""
    batch = {str(n): frames[n] for n in range(cameras)}
    detector.detect(batch)  # CUDA chooses its kernels at the first batch of a size
    done, started = 0, time.perf_counter()
    while (seconds := time.perf_counter() - started) < SECONDS:
        detector.detect(batch)
        done += cameras
    return done / seconds


def measure(settings: Settings, clip: Path) -> Iterator[dict[str, Any]]:
    """One row for each number of cameras."""
    detector = build_detector(settings)
    frames = [frame.image for frame in islice(open_source(str(clip)), max(CAMERAS))]
    for cameras in CAMERAS:
        notify(f"{settings.inference.weights}, {cameras} cameras")
        floor = bare(detector, frames, cameras)
        limits = Limits(seconds=SECONDS)
        done = serve(settings, clip, detector, cameras=cameras, limits=limits)
        service = done.processed / done.seconds
        yield {
            "cameras": cameras,
            "fps_bare_model": round(floor, 1),
            "fps": round(service, 1),
            "ratio": round(service / floor, 3),
        }


def one_kind(suffix: str, weights: Path | None, folder: Path) -> dict[str, Any]:
    """The rows of one format, or the reason for which it could not run."""
    clip = draw_clip(folder / "clip.mp4", seconds=120, fps=25)
    try:
        settings = load_settings(
            inference={
                "detector": KINDS[suffix],
                "weights": export(weights, suffix, folder),
                "device": "cuda:0",
                "image_size": IMAGE_SIZE,
                "person_class": "0",
            }
        )
        return {"rows": list(measure(settings, clip))}
    except Exception as error:  # TensorRT, CUDA and exporters each have their own
        return {"not_measured": first_line(error)}


def main(
    *,
    weights: Annotated[
        Path | None, typer.Option(help="A .pt file; else a YOLO11n with random weights.")
    ] = None,
    out: Out = None,
) -> None:
    """Measure the three formats; one sentence where there is no GPU."""
    try:
        gpu = require_gpu()
    except StorelakeError as error:
        sys.exit(str(error))
    keep_ultralytics_at_home(load_settings().cache_dir)
    result: dict[str, Any] = {"gpu": gpu, "image_size": IMAGE_SIZE, "seconds_each": SECONDS}
    with tempfile.TemporaryDirectory() as folder:
        for suffix in KINDS:
            result[suffix] = one_kind(suffix, weights, Path(folder))
    print_result(result, out)


if __name__ == "__main__":
    typer.run(main)
