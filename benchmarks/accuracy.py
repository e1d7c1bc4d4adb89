"""What cameras count beside what happened: `python -m benchmarks.accuracy --shoppers 500`.

The simulated shop is rendered into one video per camera; `storelake infer` turns each into NDJSON;
crossings and visits come from those events by the code that the streams run
(`streaming.transforms.tracks`), and orders from the tills. `verification.cameras.truth` compares
them with the truth of the simulator.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import Out, notify, print_result
from conf.settings import Settings, load_settings
from conf.stores import load_stores
from simulator.shop import FPS, ShopDay
from simulator.shop.render import open_day, render_day
from streaming.transforms.track import Person, person
from streaming.transforms.tracks import (
    CameraRun,
    LineCrossing,
    Rules,
    ZoneVisit,
    layouts_by_camera,
)
from verification.cameras.truth import Measured, Span, compare
from verification.processes import command


@dataclass(frozen=True)
class Seen:
    """Totals of one camera's events; spans are seconds since its first frame.

    Attributes:
        frames: how many.
        tracks: track id -> frames with it.
        crossings: of its lines.
        visits: zone id -> spans.
    """

    frames: int
    tracks: Counter[str]
    crossings: list[LineCrossing]
    visits: dict[str, list[Span]]

    def count(self, direction: str) -> int:
        """Crossings of entrances in that direction."""
        return sum((c.kind, c.direction) == ("entrance", direction) for c in self.crossings)

    @property
    def groups(self) -> int:
        """Groups of people who entered together."""
        return len({(c.group_id, c.group_entered_at) for c in self.crossings if c.group_id})

    @property
    def passers_by(self) -> int:
        """Tracks over a passing line and no entrance, as `count_people()` counts them."""
        over = {kind: {c.track_id for c in self.crossings if c.kind == kind}
                for kind in ("passing", "entrance")}  # fmt: skip
        return len(over["passing"] - over["entrance"])


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
    subprocess.run(command(arguments, environment or {}), check=True, stdout=subprocess.DEVNULL)
    return dict(json.loads(summary.read_text(encoding="utf-8")))


def read_events(path: Path) -> Iterator[tuple[int, int, list[Person]]]:
    """Frame index, time (microseconds since 1970) and people of each event, in order."""
    for line in path.read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        at = datetime.fromisoformat(event["captured_at"].replace("Z", "+00:00"))
        ratio = event["image"]["width"] / event["image"]["height"]
        people = [person(d["track_id"], d["bbox"], ratio) for d in event["detections"]]
        yield event["frame_index"], round(at.timestamp() * 1e6), people


def follow(settings: Settings, camera_id: str, events: Path) -> Seen:
    """Crossings and visits as the streams find them."""
    run = CameraRun(layouts_by_camera(load_stores(settings.stores_file))[camera_id], Rules())
    crossings: list[LineCrossing] = []
    visits: list[ZoneVisit] = []
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


def measured(day: ShopDay, seen: Mapping[str, Seen]) -> Measured:
    """Totals of all cameras, with the orders of the tills."""
    entries, exits = (sum(s.count(d) for s in seen.values()) for d in ("entry", "exit"))
    groups = sum(s.groups for s in seen.values())
    passers_by = sum(s.passers_by for s in seen.values())
    orders = sum(event.event_type == "order.created" for event in day.orders())
    visits = {f"{c}/{z}": spans for c, s in seen.items() for z, spans in s.visits.items()}
    conversion = orders / entries if entries else None
    return Measured(entries, exits, groups, passers_by, conversion, visits)


def measure(
    settings: Settings, day: ShopDay, folder: Path, options: Sequence[str]
) -> dict[str, Any]:
    """Draw, infer, follow and compare one day."""
    total = day.frames * len(day.camera_ids)

    def show(rendered: int) -> None:
        if rendered % 100 == 0:
            notify(f"{rendered} of {total} pictures rendered")

    rendered = render_day(day, folder, show)
    seen, services = {}, {}
    for camera_id, video in rendered.videos.items():
        notify(f"{camera_id}: {rendered.frames} frames through the service")
        events = folder / f"{camera_id}.ndjson"
        services[camera_id] = infer(camera_id, video, events, options)
        seen[camera_id] = follow(settings, camera_id, events)
    return {
        **compare(day.truth(), measured(day, seen)),
        "frames": {camera_id: s.frames for camera_id, s in seen.items()},
        "tracks": {camera_id: len(s.tracks) for camera_id, s in seen.items()},
        "video_seconds": round(day.seconds, 1),
        "fps_of_video": FPS,
        "service": services,
    }


def main(
    *,
    shoppers: Annotated[int, typer.Option(min=1, help="How many come.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Of the day.")] = 11,
    detector: Annotated[str, typer.Option(help="As of storelake infer.")] = "onnx",
    out: Out = None,
) -> None:
    """Exit code 1 when a figure is out of its bound."""
    settings = load_settings()
    start = datetime(2024, 5, 1, 8, tzinfo=timezone.utc)
    day = open_day(settings, shoppers=shoppers, seed=seed, start=start)
    with tempfile.TemporaryDirectory() as folder:
        result = measure(settings, day, Path(folder), ["--detector", detector])
    notify("")
    arguments = {"shoppers": shoppers, "seed": seed, "detector": detector}
    print_result({"arguments": arguments, **result}, out)
    if not all(result["within"].values()):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
