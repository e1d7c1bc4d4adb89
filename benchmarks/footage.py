"""People on real footage, beside people found by eye: `python -m benchmarks.footage`.

The clip is Debian's `vtest.avi`: 80 s of a street from above, with people 30 to 160 pixels tall.
`street_people.json` has the people of 22 of its frames. A box of an event is right when its IoU
with one of them, who has no surer box yet, is at least 0.4. Recall and precision are of the events,
so of detector and tracker. All see five frames a second, as the cameras of the demo do.

People are tracks that were seen for a second or more; one who is lost and found again counts twice.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks import Out, notify, print_result
from benchmarks.accuracy import Seen, follow, infer
from conf.errors import StorelakeError
from conf.settings import Settings, load_settings
from inference_service.detections import FloatArray
from inference_service.footage import fetch_clip
from inference_service.trackers.bytetrack import iou

CAMERA = "B01-entrance"
FPS = 5
LEAST_FRAMES = FPS  # one second
LEAST_IOU = 0.4
ANNOTATIONS = json.loads(Path(__file__).with_name("street_people.json").read_text("utf-8"))


def figures(seen: Seen) -> dict[str, int]:
    """People, entries and exits."""
    people = sum(frames >= LEAST_FRAMES for frames in seen.tracks.values())
    return {"people": people, "entries": seen.count("entry"), "exits": seen.count("exit")}


def compare(events: Path) -> dict[str, float]:
    """Recall and precision on the annotated frames, and their counts."""
    found = right = 0
    for line in events.read_text("utf-8").splitlines():
        event = json.loads(line)
        people = ANNOTATIONS["people"].get(str(event["frame_index"]))
        if people:
            boxes = _surest_first(event)
            matched = _matched(boxes, np.array(people, np.float64))
            unclear = ANNOTATIONS["unclear"].get(str(event["frame_index"]), [])
            right += matched.sum()
            found += sum(
                m or not _inside(box, unclear) for m, box in zip(matched, boxes, strict=True)
            )
    people = sum(map(len, ANNOTATIONS["people"].values()))
    return {
        "annotated": people,
        "found": int(found),
        "right": int(right),
        "recall": round(right / people, 3),
        "precision": round(right / found, 3) if found else 0.0,
    }


def _surest_first(event: dict[str, Any]) -> FloatArray:
    size = [event["image"]["width"], event["image"]["height"]] * 2
    rows = sorted(event["detections"], key=lambda d: -d["confidence"])
    boxes = np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4)
    return np.multiply(boxes, size, dtype=np.float64)


def _matched(boxes: FloatArray, people: FloatArray) -> np.ndarray:
    """Which boxes are a person of their own; a surer box chooses first."""
    overlap, matched = iou(boxes, people), np.zeros(len(boxes), bool)
    for row in range(len(boxes)):
        best = int(overlap[row].argmax())
        if overlap[row, best] >= LEAST_IOU:
            matched[row], overlap[:, best] = True, 0.0
    return matched


def _inside(box: FloatArray, regions: list[list[int]]) -> bool:
    x, y = (box[:2] + box[2:]) / 2
    return any(x1 <= x <= x2 and y1 <= y <= y2 for x1, y1, x2, y2 in regions)


def measure(settings: Settings, clip: Path, detectors: list[str]) -> dict[str, Any]:
    """The figures of each detector."""
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in detectors:
            notify(f"{name} on {clip.name}")
            events = Path(folder) / f"{name}.ndjson"
            done = infer(CAMERA, clip, events, ["--detector", name, "--fps", str(FPS)])
            counted = figures(follow(settings, CAMERA, events))
            result[name] = {**compare(events), **counted, "detect_ms": done["inference_ms"]}
    return result


def main(
    *,
    detectors: Annotated[str, typer.Option(help="With commas.")] = "ssd,motion,hog,onnx",
    out: Out = None,
) -> None:
    """Raises when the clip cannot be fetched."""
    settings = load_settings()
    clip = fetch_clip(settings.cache_dir)
    if clip is None:
        raise StorelakeError("The clip cannot be fetched: it is in Debian's package opencv-doc.")
    result = measure(settings, clip, detectors.split(","))
    notify("")
    about = f"boxes by eye in {len(ANNOTATIONS['people'])} frames, {FPS} frames a second"
    print_result({"clip": clip.name, "camera": CAMERA, "reference_is": about, **result}, out)


if __name__ == "__main__":
    typer.run(main)
