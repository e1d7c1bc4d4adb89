"""People and crossings on real footage: `python -m benchmarks.footage`.

The clip is Debian's `vtest.avi`: 80 s of a street from above. Nobody has counted its people for
us, so the reference is the strongest detector that needs no weights from elsewhere: HOG on the
picture enlarged twice, with the same tracker and the same lines. It is no truth: where it errs, a
detector that errs alike looks good. It takes a second of a core a frame, and is cached. All see
five frames a second, as the cameras of the demo do.

People are tracks that were seen for a second or more; one who is lost and found again counts twice.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import Out, notify, print_result
from benchmarks.accuracy import Seen, follow, infer
from conf.errors import StorelakeError
from conf.settings import Settings, load_settings
from inference_service.footage import fetch_clip

CAMERA = "B01-entrance"
REFERENCE_UPSCALE = "2.0"
FPS = 5
LEAST_FRAMES = FPS  # one second


def reference(clip: Path) -> Path:
    """Events of the reference, from the cache or made now."""
    kept = clip.with_name(f"{clip.stem}.hog-{REFERENCE_UPSCALE}x-{FPS}fps.ndjson")
    if not kept.is_file():
        notify("making the reference: some minutes")
        part = kept.with_suffix(".part")
        part.unlink(missing_ok=True)  # of a run that was cut short: events are added at the end
        larger = {"STORELAKE_INFERENCE__HOG_UPSCALE": REFERENCE_UPSCALE}
        infer(CAMERA, clip, part, ["--detector", "hog", "--fps", str(FPS)], larger)
        part.rename(kept)
    return kept


def figures(seen: Seen) -> dict[str, int]:
    """People, entries and exits."""
    people = sum(frames >= LEAST_FRAMES for frames in seen.tracks.values())
    return {"people": people, "entries": seen.count("entry"), "exits": seen.count("exit")}


def measure(settings: Settings, clip: Path, detectors: list[str]) -> dict[str, Any]:
    """The figures of the reference and of each detector."""
    result = {"reference": figures(follow(settings, CAMERA, reference(clip)))}
    with tempfile.TemporaryDirectory() as folder:
        for name in detectors:
            notify(f"{name} on {clip.name}")
            events = Path(folder) / f"{name}.ndjson"
            infer(CAMERA, clip, events, ["--detector", name, "--fps", str(FPS)])
            result[name] = figures(follow(settings, CAMERA, events))
    return result


def main(
    *,
    detectors: Annotated[str, typer.Option(help="With commas.")] = "motion,hog,onnx",
    out: Out = None,
) -> None:
    """Raises when the clip cannot be fetched."""
    settings = load_settings()
    clip = fetch_clip(settings.cache_dir)
    if clip is None:
        raise StorelakeError("The clip cannot be fetched: it is in Debian's package opencv-doc.")
    result = measure(settings, clip, detectors.split(","))
    notify("")
    about = f"hog, picture enlarged {REFERENCE_UPSCALE} times, {FPS} frames a second, same tracker"
    print_result({"clip": clip.name, "camera": CAMERA, "reference_is": about, **result}, out)


if __name__ == "__main__":
    typer.run(main)
