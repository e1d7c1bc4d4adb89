"""What cameras count beside what happened: `python -m benchmarks.accuracy --shoppers 500`.

The simulated shop is drawn into one video a camera; each goes through `storelake infer` as any file
does, to NDJSON; crossings and visits come from those events by the code that the streams run
(`streaming.transforms.tracks`), and orders from the tills. The truth is that of the simulator.

A dwell error is the mean of |measured - true| seconds over true visits that were found: each is
paired with at most one measured visit of its zone, so that together they overlap most.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from scipy.optimize import linear_sum_assignment

from benchmarks import print_result, tell
from cli import processes
from cli.shop import open_day, render_day
from conf.settings import Settings, load_settings
from conf.stores import load_stores
from simulator.shop import FPS, ShopDay, Truth, sum_up
from streaming.transforms.tracks import (
    CameraRun,
    Crossing,
    Person,
    Rules,
    Visit,
    drawings_by_camera,
)

MAX_COUNT_ERROR = 0.03  # of the true number
MAX_DWELL_ERROR = 1.5  # seconds
MAX_CONVERSION_ERROR = 0.02  # points of a share
SPEED_FRAMES = 1000
Span = tuple[float, float]


@dataclass(frozen=True)
class Seen:
    """What one camera's events say; spans are seconds since its first frame.

    Attributes:
        frames: how many.
        tracks: track id -> frames with it.
        crossings: of its lines.
        visits: zone id -> spans.
    """

    frames: int
    tracks: Counter[str]
    crossings: list[Crossing]
    visits: dict[str, list[Span]]

    def count(self, direction: str) -> int:
        """Crossings of that direction."""
        return sum(c.direction == direction for c in self.crossings)


def infer(
    camera_id: str,
    video: Path,
    out: Path,
    options: Sequence[str],
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Run the service over a file; returns the totals that it wrote."""
    summary = out.with_suffix(".summary.json")
    arguments = ["infer", "--camera", camera_id, "--source", str(video), *options]
    arguments += ["--publisher", "ndjson", "--out", str(out), "--summary", str(summary)]
    command = processes.command(arguments, environment or {})
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return dict(json.loads(summary.read_text(encoding="utf-8")))


def read_events(path: Path) -> Iterator[tuple[int, int, list[Person]]]:
    """Frame index, time (microseconds since 1970) and people of each event, in order."""
    for line in path.read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        at = datetime.fromisoformat(event["captured_at"].replace("Z", "+00:00"))
        people = [
            (d["track_id"], (d["bbox"][0] + d["bbox"][2]) / 2, d["bbox"][3])
            for d in event["detections"]
        ]
        yield event["frame_index"], round(at.timestamp() * 1e6), people


def follow(settings: Settings, camera_id: str, events: Path) -> Seen:
    """Crossings and visits as the streams find them."""
    run = CameraRun(drawings_by_camera(load_stores(settings.stores_file))[camera_id], Rules())
    crossings: list[Crossing] = []
    visits: list[Visit] = []
    frames, first, tracks = 0, 0, Counter[str]()
    for index, at, people in read_events(events):
        first = first or at
        frames += 1
        tracks.update(person[0] for person in people)
        effects = run.receive(index, at, people)
        crossings += effects.crossings
        visits += [visit for visit in effects.visits if not visit.is_open]
    spans: dict[str, list[Span]] = {}
    for visit in (*visits, *run.open_visits()):
        span = ((visit.entered_at - first) / 1e6, (visit.exited_at - first) / 1e6)
        spans.setdefault(visit.zone_id, []).append(span)
    return Seen(frames, tracks, crossings, spans)


def pair(true: Sequence[Span], measured: Sequence[Span]) -> list[tuple[Span, Span]]:
    """Visits that belong together: those pairs of which the overlap is the greatest in sum."""
    if not true or not measured:
        return []
    a, b = np.array(true), np.array(measured)
    shared = np.minimum(a[:, None, 1], b[None, :, 1]) - np.maximum(a[:, None, 0], b[None, :, 0])
    rows, columns = linear_sum_assignment(-np.clip(shared, 0, None))
    return [(true[i], measured[j]) for i, j in zip(rows, columns, strict=True) if shared[i, j] > 0]


def compare_zone(true: Sequence[Span], measured: Sequence[Span]) -> dict[str, Any]:
    """Visits and dwell of one zone."""

    def mean(spans: Sequence[Span]) -> float | None:
        return round(fmean(end - start for start, end in spans), 2) if spans else None

    pairs = pair(true, measured)
    errors = [abs((m[1] - m[0]) - (t[1] - t[0])) for t, m in pairs]
    return {
        "visits": len(measured),
        "true_visits": len(true),
        "found": len(pairs),
        "mean_s": mean(measured),
        "true_mean_s": mean(true),
        "dwell_error_s": round(fmean(errors), 3) if errors else None,
    }


def compare(day: ShopDay, truths: list[Truth], seen: dict[str, Seen]) -> dict[str, Any]:
    """Measured beside true, and whether each stays within its bound."""
    total = sum_up(truths)
    entries, exits = (sum(s.count(d) for s in seen.values()) for d in ("entry", "exit"))
    orders = sum(event.event_type == "order.created" for event in day.orders())
    zones = {}
    for key in total["zones"]:
        camera_id, zone_id = key.split("/")
        true = [
            (v.enters, v.leaves)
            for t in truths
            for v in t.visits
            if (v.camera_id, v.zone_id) == (camera_id, zone_id)
        ]
        zones[key] = compare_zone(true, seen[camera_id].visits.get(zone_id, []))
    found = sum(zone["found"] for zone in zones.values())
    dwell = sum((z["dwell_error_s"] or 0) * z["found"] for z in zones.values()) / max(1, found)
    conversion = orders / entries if entries else 0.0
    return {
        "entries": entries,
        "true_entries": total["entries"],
        "exits": exits,
        "true_exits": total["exits"],
        "dwell_error_s": round(dwell, 3),
        "conversion": round(conversion, 4),
        "true_conversion": total["conversion"],
        "zones": zones,
        "within": {
            "entries": abs(entries - total["entries"]) <= MAX_COUNT_ERROR * total["entries"],
            "exits": abs(exits - total["exits"]) <= MAX_COUNT_ERROR * total["exits"],
            "dwell": dwell < MAX_DWELL_ERROR,
            "conversion": abs(conversion - total["conversion"]) <= MAX_CONVERSION_ERROR,
        },
    }


def drawing_speed(day: ShopDay) -> dict[str, float]:
    """Pictures a second of one core's time, per camera; without encoding."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    speed = {}
    for camera_id in day.camera_ids:
        shots = day.shots(camera_id)
        next(shots)  # draws the room
        started = time.process_time()
        drawn = sum(1 for _ in islice(shots, SPEED_FRAMES))
        speed[camera_id] = round(drawn / (time.process_time() - started), 1)
    cv2.setNumThreads(threads)
    return speed


def measure(
    settings: Settings, day: ShopDay, folder: Path, options: Sequence[str]
) -> dict[str, Any]:
    """Draw, infer, follow and compare one day."""
    total = day.frames * len(day.camera_ids)
    speed = drawing_speed(day)

    def show(drawn: int) -> None:
        if drawn % 100 == 0:
            tell(f"{drawn} of {total} pictures drawn")

    rendered = render_day(day, folder, show)
    seen, services = {}, {}
    for camera_id, video in rendered.videos.items():
        tell(f"{camera_id}: {rendered.frames} frames through the service")
        events = folder / f"{camera_id}.ndjson"
        services[camera_id] = infer(camera_id, video, events, options)
        seen[camera_id] = follow(settings, camera_id, events)
    return {
        **compare(day, day.truth(), seen),
        "frames": {camera_id: s.frames for camera_id, s in seen.items()},
        "tracks": {camera_id: len(s.tracks) for camera_id, s in seen.items()},
        "video_seconds": round(day.seconds, 1),
        "fps_of_video": FPS,
        "drawn_a_second": speed,
        "service": services,
    }


def main(
    *,
    shoppers: Annotated[int, typer.Option(min=1, help="How many come.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Of the day.")] = 11,
    seconds: Annotated[
        float | None, typer.Option(min=1, help="How long people arrive; else 3 s a shopper.")
    ] = None,
    detector: Annotated[str, typer.Option(help="As of storelake infer.")] = "onnx",
    out: Annotated[Path | None, typer.Option(help="Write the JSON here, too.")] = None,
) -> None:
    """Exit code 1 when a figure is out of its bound."""
    settings = load_settings()
    start = datetime(2024, 5, 1, 8, tzinfo=timezone.utc)
    day = open_day(settings, shoppers=shoppers, seed=seed, start=start, seconds=seconds)
    with tempfile.TemporaryDirectory() as folder:
        result = measure(settings, day, Path(folder), ["--detector", detector])
    tell("")
    arguments = {"shoppers": shoppers, "seed": seed, "seconds": seconds, "detector": detector}
    print_result({"arguments": arguments, **result}, out)
    if not all(result["within"].values()):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
