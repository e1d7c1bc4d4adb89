"""Waiting frames into the tables of cameras: `python -m benchmarks.detections --rows 400000`.

Time runs as in `benchmarks.drain`: from the moment when all frames wait in Kafka for a running
application until each stream has written all of them. A row is one object in one frame. CPU is that
of the streams' process with its children, since wall time on a shared machine means little.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Annotated
from uuid import uuid4

import psycopg
import typer

from benchmarks import Out, fill_topic, fresh, print_result
from benchmarks.drain import drain
from conf.settings import Settings
from conf.stores import Point, Stores, load_stores
from simulator.history import detection_fields

STREAMS = ("silver_detections", "bronze_detections", "footfall")
FPS = 5
VISIT_FRAMES = 100
"""Frames that show an object, until another one takes its place."""


def objects(index: int, count: int) -> Iterator[tuple[str, Point]]:
    """People who walk through the picture from left to right, each on a way of their own."""
    for number in range(count):
        track, step = divmod(index + number * VISIT_FRAMES // count, VISIT_FRAMES)
        yield f"{track}-{number}", (0.05 + 0.9 * step / VISIT_FRAMES, 0.3 + 0.6 * number / count)


def events(stores: Stores, frames: int, per_frame: int) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of each frame, the cameras of the store file by turns."""
    cameras = [(b.branch_id, c.camera_id, uuid4().hex) for b in stores.branches for c in b.cameras]
    start = datetime.now(timezone.utc) - timedelta(seconds=frames / len(cameras) / FPS + 60)
    for number in range(frames):
        index, camera = divmod(number, len(cameras))
        branch_id, camera_id, run_id = cameras[camera]
        captured_at = start + timedelta(seconds=index / FPS)
        event = {
            "event_id": str(uuid4()),
            "branch_id": branch_id,
            "camera_id": camera_id,
            "run_id": run_id,
            "frame_index": index,
            **detection_fields(captured_at, list(objects(index, per_frame))),
        }
        value = json.dumps(event, separators=(",", ":")).encode()
        yield f"{branch_id}/{camera_id}".encode(), value


def counted(settings: Settings) -> dict[str, int]:
    """What came of the frames, so that nobody measures a stream that counts nothing."""
    query = (
        "SELECT (SELECT sum(frames) FROM footfall_minute), (SELECT count(*) FROM line_crossings), "
        "(SELECT count(*) FROM zone_visits)"
    )
    with psycopg.connect(settings.postgres.dsn) as connection:
        row = connection.execute(query).fetchone() or (0, 0, 0)
    return dict(zip(("frames", "crossings", "visits"), (int(n or 0) for n in row), strict=True))


def main(
    rows: Annotated[int, typer.Option(min=1000)] = 400_000,
    per_frame: Annotated[int, typer.Option(min=1, help="Objects in each frame.")] = 8,
    streams: Annotated[str, typer.Option(help="Names, with commas between.")] = ",".join(STREAMS),
    out: Out = None,
) -> None:
    """Measure once, in a fresh deployment, and print the JSON."""
    frames = rows // per_frame
    with fresh() as deployment:
        settings = deployment.settings
        waiting = events(load_stores(settings.stores_file), frames, per_frame)
        send = partial(fill_topic, settings, settings.kafka.detections, waiting)
        done, spent = drain(deployment, dict.fromkeys(streams.split(","), frames), send)
        found = counted(settings)
    slowest, cpu = max(done.values()), sum(spent.values())
    result = {
        "rows": frames * per_frame,
        "frames": frames,
        "seconds": done,
        "rows_a_second": {name: round(frames * per_frame / s) for name, s in done.items()},
        "rows_a_second_all": round(frames * per_frame / slowest),
        "cpu_seconds": round(cpu, 1),
        "rows_a_cpu_second": round(frames * per_frame / cpu),
        "counted": found,
    }
    print_result(result, out)


if __name__ == "__main__":
    typer.run(main)
