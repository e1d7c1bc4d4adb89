"""Ids in against ids out: what was sent, and what Kafka, the lake and Postgres hold of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing

import msgspec
import pyarrow as pa

from infra.local.process import wait_until
from quality.frame_observer import FrameObserver
from quality.frame_reconciliation import FootfallMinute, FrameEvent, reconcile_frames, sum_minutes
from quality.order_observer import OrderObserver, broker_positions, message_id
from quality.order_reconciliation import reconcile_orders
from quality.reconciliation import (
    DETECTIONS,
    NO_IDS,
    ORDERS,
    POSITION,
    Difference,
    Flow,
    Place,
    PlaceIds,
    Reconciliation,
    reconcile,
    split,
    split_differences,
)
from simulator.ledger import digest, read_ledger
from streaming.lake.formats import open_lake
from streaming.lake.protocol import Lake
from streaming.sinks.postgres import Database
from verification.faults.load import Load
from verification.faults.messages import Sent
from verification.faults.walkers import CAMERA_ID, Crossings, expected

ARRIVAL_SECONDS = 180.0


def balance(load: Load) -> Reconciliation:
    """Wait until everything has arrived, then compare all of it."""
    with closing(Database(load.settings.postgres.dsn, 2)) as db, open_lake(load.settings) as lake:
        return _balance(load, db, lake)


def _balance(load: Load, db: Database, lake: Lake) -> Reconciliation:
    orders = OrderObserver(load.settings, db, load.start, read_ledger(load.ledger))
    cameras, wanted = FrameObserver(db, lake), expected(load.frames)
    behind: list[str] = []

    def arrived() -> bool:
        waits = cameras.is_behind(len(load.frames), CAMERA_ID) or crossed() < wanted
        behind[:] = [*orders.behind(), *(["footfall"] if waits else [])]
        return not behind

    def crossed() -> tuple[int, int]:
        total = sum_minutes(cameras.minutes())  # another camera of the load shows nobody
        return total.entries, total.exits

    wait_until(arrived, ARRIVAL_SECONDS, every=1.0)
    observed, frames = orders.read(), cameras.read().of(CAMERA_ID)
    sent_frames = msgspec.convert(load.frames, list[FrameEvent])
    sent = {e.digest for e in orders.entries} | {digest(one.value) for one in load.odd}
    strangers = [m.id for m in observed.kafka if m.digest not in sent]
    return reconcile_orders(orders.entries, observed).plus(
        Difference("missing", f"not arrived after {ARRIVAL_SECONDS:.0f} s", behind),
        Difference("unexpected", "messages in Kafka that nobody sent", strangers),
        *reconcile_frames(sent_frames, frames).differences,
        *compare_crossings(wanted, sum_minutes(frames.minutes), cameras.crossings(CAMERA_ID)),
        *compare_odd(load.odd, lake),
        retries=load.sent.retries,
        frames=len(load.frames),
        entries=wanted.entries,
        exits=wanted.exits,
        odd=len(load.odd),
    )


# -- cameras ---------------------------------------------------------------------------------------


def compare_crossings(
    wanted: Crossings, footfall: FootfallMinute, crossings: Mapping[str, int]
) -> list[Difference]:
    """Entries and exits in footfall_minute and line_crossings against those of the walkers.

    Args:
        wanted: of the frames that were sent.
        footfall: the sum of all minutes.
        crossings: direction -> rows of line_crossings.
    """
    found = {
        "footfall_minute": Crossings(footfall.entries, footfall.exits),
        "crossings": Crossings(crossings.get("entry", 0), crossings.get("exit", 0)),
    }
    return [
        Difference(
            "unexpected",
            f"{where}: {there.entries} entries and {there.exits} exits, the frames show "
            f"{wanted.entries} and {wanted.exits}",
        )
        for where, there in found.items()
        if there != wanted
    ]


# -- odd messages ----------------------------------------------------------------------------------


def compare_odd(sent: Sequence[Sent], lake: Lake) -> tuple[Difference, ...]:
    """Each odd message is in bronze once, and either good or quarantined, once."""
    orders = [one for one in sent if one.position[0] != "detections"]
    frames = [one for one in sent if one.position[0] == "detections"]
    return (*_compare_odd(ORDERS, orders, lake), *_compare_odd(DETECTIONS, frames, lake))


def _compare_odd(flow: Flow, sent: Sequence[Sent], lake: Lake) -> tuple[Difference, ...]:
    names = {message_id(one.position): f"{one.kind} at {one.position}" for one in sent}

    def held(table: str) -> list[str]:
        there = map(message_id, broker_positions(lake.read(table, POSITION)))
        return [names[message] for message in there if message in names]

    bronze, good, bad = (held(table.name) for table in flow)
    parts = split(*(pa.array(ids, pa.string()) for ids in (bronze, good, bad)))
    if flow is DETECTIONS:  # a good frame without anybody has no row in silver
        parts = parts._replace(unaccounted=NO_IDS)
    places = (
        PlaceIds(Place("odd", flow.received.name, "odd messages"), names.values(), bronze),
        PlaceIds(Place("quarantined", flow.quarantined.name, "odd messages"), (), bad),
    )
    return reconcile(places).plus(*split_differences(parts)).differences
