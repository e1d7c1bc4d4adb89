"""Backlogs with known ids and sums, and what must have come of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

from conf.settings import Settings
from conf.stores import load_stores
from quality.frame_observer import FrameObserver
from quality.frame_reconciliation import FrameEvent, parse_frame, reconcile_frames, sum_minutes
from quality.order_observer import OrderObserver, RunStart
from quality.order_reconciliation import reconcile_orders
from quality.reconciliation import Reconciliation
from quality.smoke_test import STREAMS as ORDER_STREAMS
from simulator.ledger import read_ledger
from simulator.send import send
from streaming.lake.formats import open_lake
from streaming.sinks.postgres import Database
from verification.backlog import VISIT_FRAMES, detection_events, fill_topic
from verification.faults.oracle import compare_crossings
from verification.faults.walkers import ENTRANCE, Crossings

FRAME_STREAMS = ("bronze_detections", "silver_detections", "footfall")
BATCHES = 4
PER_FRAME = 8
POISON, DUPLICATES = 0.01, 0.01


@dataclass(frozen=True)
class Backlog:
    """Messages for streams, and how to find out what became of them.

    Attributes:
        streams: that drain them.
        messages: their number.
        warm_up: so many must be finished by all streams before anything is measured.
        send_rest: sends what does not wait already; called after the warm-up.
        check: compares what was sent with what Kafka, Postgres and the lake hold.
    """

    streams: tuple[str, ...]
    messages: int
    warm_up: int
    send_rest: Callable[[], object]
    check: Callable[[], Reconciliation]


Send: TypeAlias = "Callable[[Settings], Backlog]"


def send_orders(settings: Settings, count: int) -> Backlog:
    """Send events of real baskets; of a hundred one is broken and one is sent twice.

    They all wait: their streams share one query, whose first batch is the warm-up.
    """
    ledger = settings.var_dir / "scale" / "ledger.ndjson"
    start = RunStart.of_orders(settings)
    send(settings, via="kafka", ledger=ledger, count=count, poison=POISON, duplicates=DUPLICATES)
    check = partial(_check_orders, settings, start, ledger)
    return Backlog(ORDER_STREAMS, count, 1, lambda: None, check)


def _check_orders(settings: Settings, start: RunStart, ledger: Path) -> Reconciliation:
    entries = read_ledger(ledger)
    with closing(Database(settings.postgres.dsn, 2)) as db:
        observed = OrderObserver(settings, db, start, entries).read()
    return reconcile_orders(entries, observed)


def send_frames(settings: Settings, count: int) -> Backlog:
    """Send frames of all cameras, of people who all walk from left to right; whole visits.

    Two queries read them at speeds of their own, so a part is drained by both as the warm-up.
    """
    stores = load_stores(settings.stores_file)
    whole = VISIT_FRAMES * sum(len(branch.cameras) for branch in stores.branches)
    messages = list(detection_events(stores, -(-count // whole) * whole, PER_FRAME))
    warm_up = len(messages) // BATCHES
    fill_topic(settings, settings.kafka.detections, messages[:warm_up])
    rest = partial(fill_topic, settings, settings.kafka.detections, messages[warm_up:])
    frames = [frame for _, value in messages if (frame := parse_frame(value))]
    check = partial(_check_frames, settings, frames)
    return Backlog(FRAME_STREAMS, len(messages), warm_up, rest, check)


def _check_frames(settings: Settings, sent: Sequence[FrameEvent]) -> Reconciliation:
    with closing(Database(settings.postgres.dsn, 2)) as db, open_lake(settings) as lake:
        observer = FrameObserver(db, lake)
        observed, crossings = observer.read(), observer.crossings(ENTRANCE.camera_id)
    found = reconcile_frames(sent, observed)
    visits = sum(frame.camera_id == ENTRANCE.camera_id for frame in sent) // VISIT_FRAMES
    # They all walk in, and only this camera has a line across their way.
    wanted = Crossings(entries=visits * PER_FRAME, exits=0)
    return found.plus(*compare_crossings(wanted, sum_minutes(observed.minutes), crossings))
