"""Waiting frames into the tables of cameras: `python -m benchmarks.detections --rows 400000`.

Time runs as in `benchmarks.drain`: from the moment when all frames wait in Kafka for a running
application until each stream has written all of them. A row is one object in one frame. CPU is that
of the streams' process with its children, since wall time on a shared machine means little.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated

import psycopg
import typer

from benchmarks import Out, fresh, print_result
from benchmarks.drain import drain
from conf.settings import Settings
from conf.stores import load_stores
from verification.backlog import detection_events, fill_topic

STREAMS = ("silver_detections", "bronze_detections", "footfall")


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
        waiting = detection_events(load_stores(settings.stores_file), frames, per_frame)
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
