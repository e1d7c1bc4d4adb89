"""What the trackers make of one scripted shop: ids kept, ids switched, time a picture.

    python -m benchmarks.trackers [--out FILE]

People of known identity walk, stop, turn back and hide each other; their boxes come with noise,
gaps and false ones, as of a detector, at several frame rates and with frames left out. Coats have
colours, so that trackers which look at people see something. IDF1 follows Ristani et al.,
"Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking", 2016.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial
from statistics import median
from typing import Any

import cv2
import numpy as np
import trackforge
import typer
from scipy.optimize import linear_sum_assignment

from benchmarks import Out, notify, print_result
from conf.settings import InferenceSettings
from inference_service.detections import Detections, FloatArray, Image
from inference_service.frames import Frame
from inference_service.trackers import KNOWN, Tracker, build_tracker
from inference_service.trackers.bytetrack import iou

START = datetime(2026, 1, 5, 12, tzinfo=timezone.utc)
WIDTH, HEIGHT, SECONDS, PEOPLE = 768, 576, 120, 40
# Frames a second, share of frames that are left out.
CASES = ((5.0, 0.0), (5.0, 0.3), (10.0, 0.0), (15.0, 0.0))
MATCH = 0.4  # IoU from which a box counts as that person's


@dataclass(frozen=True)
class Walker:
    """One person: enters at `start` s, stands still for `stop` s, and may turn back after it."""

    start: float
    height: float
    speed: float
    x: float
    y: float
    drift: float
    pause_at: float
    stop: float
    back: bool
    coat: tuple[int, int, int]

    def box(self, second: float) -> FloatArray | None:
        """Where the person is, None outside of the picture."""
        since = second - self.start
        if not 0 <= since <= 16:
            return None
        walked = min(since, self.pause_at) + max(0.0, since - self.pause_at - self.stop) * (
            -1 if self.back else 1
        )
        x, y = self.x + self.speed * walked, self.y + self.drift * walked
        half = self.height * (0.18 + 0.03 * np.sin(since * 5.5))
        if not (0 < x < WIDTH and 0 < y < HEIGHT + 20):
            return None
        return np.array([x - half, y - self.height, x + half, y])


def walkers(rng: np.random.Generator) -> list[Walker]:
    """The people of one seed."""
    people = []
    for _ in range(PEOPLE):
        height, side = rng.uniform(80, 160), rng.choice([-1, 1])
        people.append(
            Walker(
                start=rng.uniform(0, SECONDS - 15),
                height=height,
                speed=rng.uniform(0.5, 1.1) * height * side,
                x=-40.0 if side > 0 else WIDTH + 40.0,
                y=rng.uniform(HEIGHT * 0.35, HEIGHT * 0.95),
                drift=rng.uniform(-0.15, 0.15) * height,
                pause_at=rng.uniform(2, 5),
                stop=float(rng.choice([0.0, 3.0])),
                back=bool(rng.random() < 0.25),
                coat=tuple(int(v) for v in rng.integers(0, 256, 3)),  # type: ignore[arg-type]
            )
        )
    return people


def pictures(
    seed: int, fps: float, left_out: float
) -> Iterator[tuple[Frame, dict[int, FloatArray], Detections]]:
    """Frames with the true boxes and imperfect detections of them."""
    rng = np.random.default_rng(seed)
    people = walkers(rng)
    grain = rng.integers(90, 170, (HEIGHT // 24, WIDTH // 24, 3), np.uint8)
    floor = grain.repeat(24, axis=0).repeat(24, axis=1)
    for index in range(round(SECONDS * fps)):
        if rng.random() < left_out:
            continue
        seen = {n: p.box(index / fps) for n, p in enumerate(people)}
        truth = {n: box for n, box in seen.items() if box is not None}
        image = floor.copy()
        nearer_last = sorted(truth, key=lambda n: truth[n][3])
        for n in nearer_last:
            _paint(image, truth[n], people[n].coat)
        frame = Frame(image, index, START + timedelta(seconds=index / fps))
        yield frame, truth, _detect(rng, truth, nearer_last[::-1])


def _paint(image: Image, box: FloatArray, coat: tuple[int, int, int]) -> None:
    x1, y1, x2, y2 = (int(v) for v in box)
    cv2.rectangle(image, (x1, y1), (x2, y2), coat, -1)
    cv2.rectangle(image, (x1, (y1 + y2) // 2), (x2, y2), tuple(c // 2 for c in coat), -1)


def _detect(
    rng: np.random.Generator, truth: dict[int, FloatArray], nearest_first: list[int]
) -> Detections:
    boxes, confidence = [], []
    for rank, n in enumerate(nearest_first):
        box = truth[n]
        size = box[2:] - box[:2]
        hidden = 0.0
        for other in nearest_first[:rank]:
            low, high = (
                np.maximum(box[:2], truth[other][:2]),
                np.minimum(box[2:], truth[other][2:]),
            )
            hidden = max(hidden, float(np.clip(high - low, 0, None).prod() / size.prod()))
        if hidden > 0.6 or rng.random() < 0.05:
            continue
        noisy = (box + rng.normal(0, 0.02 * size[1], 4)).reshape(2, 2)
        boxes.append(np.sort(noisy, axis=0).ravel())
        confidence.append(float(np.clip(rng.normal(0.8 - 0.5 * hidden, 0.12), 0.2, 0.99)))
    if rng.random() < 0.1:
        x, y = rng.uniform(0, WIDTH - 60), rng.uniform(100, HEIGHT)
        boxes.append(np.array([x, y - 100, x + 40, y]))
        confidence.append(float(rng.uniform(0.3, 0.6)))
    return Detections.people(np.reshape(boxes, (-1, 4)), confidence)


class LibraryByteTrack:
    """trackforge's ByteTrack, which we do not use: the reason for ours (ADR 0010).

    With `margin` its boxes are widened and it is updated for missing frames, as the others are.
    """

    name = "trackforge bytetrack"

    def __init__(self, fps: float, margin: float = 0.0) -> None:
        self._fps, self._margin = fps, margin
        self._tracker = trackforge.BYTETRACK(
            track_buffer=round(2 * fps), match_thresh=0.9, det_thresh=0.5, second_match_thresh=0.6
        )
        self._hits: Counter[int] = Counter()
        self._last_at: datetime | None = None

    def reset(self) -> None:
        """Not needed here."""

    def update(self, detections: Detections, frame: Frame) -> Detections:
        """As `Tracker.update`."""
        if self._last_at is not None and self._margin:
            gap = (frame.captured_at - self._last_at).total_seconds()
            for _ in range(round(gap * self._fps) - 1):
                self._tracker.update([])
        self._last_at = frame.captured_at
        grow = (detections.boxes[:, 2:] - detections.boxes[:, :2]) * self._margin
        low, high = detections.boxes[:, :2] - grow, detections.boxes[:, 2:] + grow
        boxes = np.hstack([low, high - low]).tolist()
        rows = [(box, c, 0) for box, c in zip(boxes, detections.confidence.tolist(), strict=True)]
        seen = {row: number for number, *_, row in self._tracker.update(rows) if row is not None}
        self._hits.update(seen.values())
        shown = sorted(row for row, number in seen.items() if self._hits[number] >= 2)
        chosen = detections.select(shown)
        ids = tuple(str(seen[row]) for row in shown)
        return Detections(chosen.boxes, chosen.confidence, chosen.classes, ids)


def trackers(fps: float) -> dict[str, Callable[[], Tracker]]:
    """What is compared."""
    ours: dict[str, Callable[[], Tracker]] = {
        name: partial(build_tracker, InferenceSettings(), fps, name) for name in KNOWN
    }
    return ours | {
        "trackforge bytetrack": partial(LibraryByteTrack, fps),
        "trackforge bytetrack, widened": partial(LibraryByteTrack, fps, 0.5),
    }


def follow(tracker: Tracker, seed: int, fps: float, left_out: float) -> dict[str, float]:
    """One tracker over one world."""
    pairs: Counter[tuple[int, str]] = Counter()
    last: dict[int, str] = {}
    switches = true_boxes = shown_boxes = frames = 0
    spent = 0.0
    for frame, truth, found in pictures(seed, fps, left_out):
        started = time.perf_counter()
        out = tracker.update(found, frame)
        spent += time.perf_counter() - started
        frames += 1
        true_boxes, shown_boxes = true_boxes + len(truth), shown_boxes + len(out)
        if not truth or not len(out):
            continue
        people = list(truth)
        overlap = iou(np.array([truth[n] for n in people]), out.boxes)
        for i, j in zip(*linear_sum_assignment(-overlap), strict=True):
            if overlap[i, j] >= MATCH:
                person, track = people[i], (out.track_ids or ())[j]
                pairs[person, track] += 1
                switches += last.get(person, track) != track
                last[person] = track
    return {
        "idf1": 2 * _agreed(pairs) / (true_boxes + shown_boxes),
        "switches": switches,
        "ids": len({track for _, track in pairs}),
        "ms": 1000 * spent / frames,
    }


def _agreed(pairs: Counter[tuple[int, str]]) -> int:
    people, tracks = sorted({p for p, _ in pairs}), sorted({t for _, t in pairs})
    table = np.zeros((len(people), len(tracks)))
    for (person, track), count in pairs.items():
        table[people.index(person), tracks.index(track)] = count
    return int(table[linear_sum_assignment(-table)].sum())


def main(seeds: int = 5, out: Out = None) -> None:
    """Every tracker in every case; medians over the seeds."""
    cases: list[dict[str, Any]] = []
    for fps, left_out in CASES:
        for name, build in trackers(fps).items():
            notify(f"{name} at {fps:g} frames a second, {left_out:.0%} left out")
            runs = [follow(build(), seed, fps, left_out) for seed in range(seeds)]
            middle = {key: round(median(r[key] for r in runs), 3) for key in runs[0]}
            cases.append({"tracker": name, "fps": fps, "left_out": left_out, **middle})
    print_result({"people": PEOPLE, "seeds": seeds, "cases": cases}, out)


if __name__ == "__main__":
    typer.run(main)
