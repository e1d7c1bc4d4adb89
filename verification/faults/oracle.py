"""Ids in against ids out: what was sent, and what Kafka, the lake and Postgres hold of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from infra.local.process import wait_until
from quality.frame_observer import FrameObserver
from quality.frame_reconciliation import (
    FootfallMinute,
    FrameEvent,
    ObservedFrames,
    reconcile_frames,
    sum_minutes,
)
from quality.order_observer import (
    Minutes,
    OrderObserver,
    Position,
    broker_positions,
    message_id,
)
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
from simulator.ledger import digest
from streaming.lake.formats import open_lake
from streaming.lake.protocol import Lake
from streaming.sinks.postgres import Database
from verification.faults.inference import CAMERA_ID as SERVICE
from verification.faults.load import CameraLoad, Load
from verification.faults.messages import Sent
from verification.faults.recompute import recompute
from verification.faults.walkers import Crossings, expected

ARRIVAL_SECONDS = 180.0
PULSAR_TOPICS = "persistent://"


def balance(load: Load) -> Reconciliation:
    """Wait until everything has arrived, then compare all of it."""
    with closing(Database(load.settings.postgres.dsn, 2)) as db, open_lake(load.settings) as lake:
        return _balance(load, db, lake)


def _balance(load: Load, db: Database, lake: Lake) -> Reconciliation:
    orders = OrderObserver(load.settings, db, load.start, load.entries)
    cameras = FrameObserver(db, lake)
    behind: list[str] = []

    def waits(one: CameraLoad) -> bool:
        camera_id, wanted = one.camera.camera_id, expected(one.camera, one.frames)
        return (
            cameras.is_behind(len(one.frames), camera_id)
            or _crossed(cameras.minutes(), camera_id) < wanted
        )

    def arrived() -> bool:
        late = [one.camera.camera_id for one in load.cameras if waits(one)]
        late += [SERVICE] * (cameras.counted(SERVICE) < _count(cameras.bronze(), SERVICE))
        behind[:] = [*orders.behind(), *late]
        return not behind

    wait_until(arrived, ARRIVAL_SECONDS, every=1.0)
    observed, frames = orders.read(), cameras.read()
    sent = {e.digest for e in orders.entries} | {digest(one.value) for one in load.odd}
    strangers = [m.id for m in observed.kafka if m.digest not in sent]
    bronze = {
        message_id(p) for t in (ORDERS, DETECTIONS) for p in _positions(lake, t.received.name)
    }
    return reconcile_orders(orders.entries, observed).plus(
        Difference("missing", f"not arrived after {ARRIVAL_SECONDS:.0f} s", behind),
        Difference("unexpected", "messages in Kafka that nobody sent", strangers),
        Difference("unexpected", "of aborted transactions, in bronze", {*load.aborted} & bronze),
        *(d for one in load.cameras for d in _compare_camera(one, frames, cameras)),
        *reconcile_frames(frames.of(SERVICE).bronze, frames.of(SERVICE)).differences,
        *recompute(db, lake),
        *compare_odd(load.odd, lake),
        retries=sum(one.sent.retries for one in load.orders),
        frames=sum(len(one.frames) for one in load.cameras) + _count(frames.bronze, SERVICE),
        **_crossings(load.cameras),
        odd=len(load.odd),
        aborted=len(load.aborted),
    )


def _count(frames: Sequence[FrameEvent], camera_id: str) -> int:
    return sum(one.camera_id == camera_id for one in frames)


def _positions(lake: Lake, table: str) -> list[Position]:
    """Of the messages of Kafka; a camera at Pulsar has its frames compared by their ids."""
    rows = lake.read(table, POSITION)
    return broker_positions(rows.filter(pc.invert(pc.starts_with(rows["topic"], PULSAR_TOPICS))))


def _crossings(cameras: Sequence[CameraLoad]) -> dict[str, int]:
    entries, exits = zip(*(expected(one.camera, one.frames) for one in cameras), strict=True)
    return {"entries": sum(entries), "exits": sum(exits)}


def _crossed(minutes: Minutes, camera_id: str) -> Crossings:
    total = sum_minutes({key: row for key, row in minutes.items() if key[0] == camera_id})
    return Crossings(total.entries, total.exits)


def _compare_camera(
    one: CameraLoad, observed: ObservedFrames, cameras: FrameObserver
) -> list[Difference]:
    """The frames of one camera, and who crosses its entrance."""
    camera_id, found = one.camera.camera_id, observed.of(one.camera.camera_id)
    ours = replace(found, bronze=[f for f in found.bronze if f.run_id == one.run_id])
    sent = msgspec.convert(one.frames, list[FrameEvent])
    wanted = expected(one.camera, one.frames)
    return [
        *reconcile_frames(sent, ours).differences,
        *compare_crossings(wanted, sum_minutes(found.minutes), cameras.crossings(camera_id)),
    ]


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
        there = map(message_id, _positions(lake, table))
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
