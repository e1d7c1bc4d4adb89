"""Ids in against ids out: what was sent, and what Kafka, the lake and Postgres hold of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

from infra.local.process import wait_until
from quality.account import EXAMPLES, Account, settle
from quality.evidence import Trail
from simulator.ledger import digest, read_ledger
from streaming.lake.formats import open_lake
from streaming.lake.protocol import Lake
from streaming.lake.tables import (
    BRONZE_DETECTIONS,
    BRONZE_ORDER_EVENTS,
    QUARANTINE_DETECTIONS,
    QUARANTINE_ORDER_EVENTS,
    SILVER_DETECTIONS,
    SILVER_ORDERS,
)
from streaming.sinks.postgres import Database
from verification.faults.load import Load
from verification.faults.messages import Sent
from verification.faults.walkers import BRANCH_ID, CAMERA_ID, Counts, expected

SETTLE_SECONDS = 180.0
POSITION = ("topic", "partition", "position")

Position = tuple[str, int, int]
Hour = tuple[str, datetime]


@dataclass(frozen=True)
class Balance:
    """The comparison.

    Attributes:
        numbers: how many of what.
        differences: one sentence for each thing that differs; empty when all is well.
    """

    numbers: Mapping[str, int]
    differences: tuple[str, ...]


def balance(load: Load) -> Balance:
    """Wait until everything has arrived, then compare all of it."""
    db = Database(load.settings.postgres.dsn, 2)
    try:
        with open_lake(load.settings) as lake:
            return _balance(load, db, lake)
    finally:
        db.close()


def _balance(load: Load, db: Database, lake: Lake) -> Balance:
    entries = read_ledger(load.ledger)
    trail = Trail(load.settings, db, load.start, entries)
    wanted = expected(load.frames)
    behind: list[str] = []

    def arrived() -> bool:
        behind[:] = [*trail.behind(), *cameras_behind(db, wanted)]
        return not behind

    wait_until(arrived, SETTLE_SECONDS, every=1.0)
    evidence = trail.gather()
    account = settle(entries, evidence)
    known = {e.digest for e in entries} | {digest(one.value) for one in load.odd}
    strangers = [m.position for m in evidence.kafka if m.digest not in known]
    ledger = [json.loads(line) for line in load.ledger.read_text().splitlines()]
    differences = [
        *account.faults,
        *named(f"not arrived after {SETTLE_SECONDS:.0f} s", behind),
        *named("messages in Kafka that nobody sent", strangers),
        *compare_hours(hours_of(ledger), metrics_of(db)),
        *compare_frames(wanted, Seen.of(load, db, lake)),
        *compare_odd(load.odd, lake),
    ]
    return Balance(_numbers(load, account, wanted), tuple(differences))


def _numbers(load: Load, account: Account, wanted: Counts) -> dict[str, int]:
    return {
        **account.numbers,
        "missing": account.missing,
        "duplicated": account.duplicated,
        "retries": load.sent.retries,
        "frames": len(wanted.event_ids),
        "entries": wanted.entries,
        "exits": wanted.exits,
        "odd": len(load.odd),
    }


def named(what: str, keys: Iterable[object]) -> list[str]:
    """One sentence that counts keys and names some of them; none without a key."""
    found = sorted({str(key) for key in keys})
    if not found:
        return []
    return [f"{what}: {len(found)} (such as {', '.join(found[:EXAMPLES])})"]


# -- order metrics ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class HourSums:
    """What `order_metrics` says of a branch and hour; money in the currency of the branch."""

    order_count: int = 0
    total_revenue: Decimal = Decimal(0)
    net_revenue: Decimal = Decimal(0)
    statuses: tuple[tuple[str, int], ...] = ()
    payments: tuple[tuple[str, int], ...] = ()


def hours_of(ledger: Iterable[Mapping[str, Any]]) -> dict[Hour, HourSums]:
    """Recompute the metrics from the lines of a ledger, without any code of the streams.

    An order counts once, in the hour of its `created_at`, with its newest total, payment and
    status; late events do not count, broken ones neither.
    """
    orders: dict[str, dict[str, Any]] = {}
    good = [line for line in ledger if line["outcome"] == "accepted" and not line["late"]]
    for line in sorted(good, key=_version):
        order = orders.setdefault(line["order_id"], {})
        order["status"] = line["status"]
        if line["created_at"] is not None:
            order |= {k: line[k] for k in ("branch_id", "created_at", "total_price")}
            order["payment"] = line["payment_method"]
    by_hour: dict[Hour, list[dict[str, Any]]] = {}
    for order in orders.values():
        if "created_at" in order:
            by_hour.setdefault((order["branch_id"], _hour(order["created_at"])), []).append(order)
    return {hour: _sums(some) for hour, some in by_hour.items()}


def _version(line: Mapping[str, Any]) -> tuple[Any, ...]:
    return line["event_time"], line["topic"], line["partition"], line["offset"]


def _hour(text: str) -> datetime:
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment.replace(minute=0, second=0, microsecond=0)


def _sums(orders: Sequence[Mapping[str, Any]]) -> HourSums:
    totals = [(Decimal(o["total_price"]), o["status"] != "cancelled") for o in orders]
    return HourSums(
        len(orders),
        sum((total for total, _ in totals), Decimal(0)),
        sum((total for total, counts in totals if counts), Decimal(0)),
        tuple(sorted(Counter(o["status"] for o in orders).items())),
        tuple(sorted(Counter(o["payment"] for o in orders).items())),
    )


STATUSES = ("pending", "processing", "completed", "cancelled")
PAYMENTS = ("cash", "online")


def metrics_of(db: Database) -> dict[Hour, HourSums]:
    """What `order_metrics` says."""
    rows = db.fetch("SELECT * FROM order_metrics WHERE order_count > 0")
    return {(row["branch_id"], row["hour"].astimezone(timezone.utc)): _row(row) for row in rows}


def _row(row: Mapping[str, Any]) -> HourSums:
    statuses, payments = (
        tuple(sorted((name, row[f"{name}_count"]) for name in names if row[f"{name}_count"]))
        for names in (STATUSES, PAYMENTS)
    )
    return HourSums(
        row["order_count"], row["total_revenue"], row["net_revenue"], statuses, payments
    )


def compare_hours(wanted: Mapping[Hour, HourSums], found: Mapping[Hour, HourSums]) -> list[str]:
    """One sentence for each branch and hour that differs."""
    return [
        f"order_metrics of {branch} at {hour:%Y-%m-%d %H}:00: recomputed {wanted.get(key)}, "
        f"found {found.get(key)}"
        for key in sorted({*wanted, *found})
        for branch, hour in [key]
        if wanted.get(key) != found.get(key)
    ]


# -- cameras ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """What the tables hold of the camera; repeated rows are repeated here.

    Attributes:
        bronze: event ids.
        silver: (frame_index, track_id).
        frames: minute -> frames.
        entries, exits, late: of all minutes.
        crossings: direction -> rows of line_crossings.
    """

    bronze: Sequence[str]
    silver: Sequence[tuple[int, str]]
    frames: Mapping[datetime, int]
    entries: int
    exits: int
    late: int
    crossings: Mapping[str, int]

    @classmethod
    def of(cls, load: Load, db: Database, lake: Lake) -> Seen:
        """Read them, whole."""
        minutes = _minutes(db)
        crossings = db.fetch(
            "SELECT direction, count(*) AS n FROM line_crossings "
            "WHERE camera_id = %s AND NOT withdrawn GROUP BY 1",
            (CAMERA_ID,),
        )
        return cls(
            bronze=_bronze_ids(lake, load.run_id),
            silver=_silver_boxes(lake, load.run_id),
            frames={row["minute"]: int(row["frames"]) for row in minutes},
            entries=sum(row["entries"] for row in minutes),
            exits=sum(row["exits"] for row in minutes),
            late=sum(row["late_frames"] for row in minutes),
            crossings={row["direction"]: row["n"] for row in crossings},
        )


def _minutes(db: Database) -> list[dict[str, Any]]:
    return db.fetch(
        "SELECT minute, frames, late_frames, entries, exits FROM footfall_minute "
        "WHERE branch_id = %s AND camera_id = %s",
        (BRANCH_ID, CAMERA_ID),
    )


def _bronze_ids(lake: Lake, run_id: str) -> list[str]:
    ids = []
    for value in lake.read(BRONZE_DETECTIONS.name, ("value",))["value"].to_pylist():
        try:
            event = json.loads(value or b"")
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict) and event.get("run_id") == run_id:
            ids.append(str(event["event_id"]))
    return ids


def _silver_boxes(lake: Lake, run_id: str) -> list[tuple[int, str]]:
    columns = ("run_id", "frame_index", "track_id")
    rows = lake.read(SILVER_DETECTIONS.name, columns)
    boxes = zip(*(rows[name].to_pylist() for name in columns), strict=True)
    return [(index, track) for run, index, track in boxes if run == run_id]


def cameras_behind(db: Database, wanted: Counts) -> list[str]:
    """What of the camera has not arrived yet; cheap, asked again and again."""
    minutes = _minutes(db)
    counted = sum(row["frames"] + row["late_frames"] for row in minutes)
    crossed = (sum(r["entries"] for r in minutes), sum(r["exits"] for r in minutes))
    complete = counted >= len(wanted.event_ids) and crossed >= (wanted.entries, wanted.exits)
    return [] if complete else ["footfall"]


def compare_frames(wanted: Counts, seen: Seen) -> list[str]:
    """One sentence for each thing that differs between the frames and the tables."""
    again = [key for key, times in Counter(seen.bronze).items() if times > 1]
    boxes = [key for key, times in Counter(seen.silver).items() if times > 1]
    crossings = seen.crossings.get("entry", 0), seen.crossings.get("exit", 0)
    differences = [
        *named("frames that bronze.detections lacks", wanted.event_ids - set(seen.bronze)),
        *named("frames more than once in bronze.detections", again),
        *named("boxes that silver.detections lacks", wanted.boxes - set(seen.silver)),
        *named("boxes that nobody sent in silver.detections", set(seen.silver) - wanted.boxes),
        *named("boxes more than once in silver.detections", boxes),
        *named(
            "minutes of footfall_minute with another number of frames",
            {*wanted.frames.items()} ^ {*seen.frames.items()},
        ),
    ]
    if seen.late:
        differences.append(f"{seen.late} frames came too late to be followed")
    for where, found in (("footfall_minute", (seen.entries, seen.exits)), ("crossings", crossings)):
        if found != (wanted.entries, wanted.exits):
            differences.append(
                f"{where}: {found[0]} entries and {found[1]} exits, the frames show "
                f"{wanted.entries} and {wanted.exits}"
            )
    return differences


# -- odd messages ----------------------------------------------------------------------------------


def compare_odd(sent: Sequence[Sent], lake: Lake) -> list[str]:
    """Each odd message is in bronze once, and either good or quarantined, once."""
    orders = [one for one in sent if one.position[0] != "detections"]
    frames = [one for one in sent if one.position[0] == "detections"]
    return [
        *_lost_or_twice(
            orders, lake, BRONZE_ORDER_EVENTS.name, SILVER_ORDERS.name, QUARANTINE_ORDER_EVENTS.name
        ),
        *_lost_or_twice(
            frames, lake, BRONZE_DETECTIONS.name, SILVER_DETECTIONS.name, QUARANTINE_DETECTIONS.name
        ),
    ]


def _lost_or_twice(
    sent: Sequence[Sent], lake: Lake, bronze: str, silver: str, quarantine: str
) -> list[str]:
    if not sent:
        return []
    kinds = {one.position: one.kind for one in sent}
    stored = Counter(p for p in positions(lake, bronze) if p in kinds)
    good = {p for p in positions(lake, silver) if p in kinds}
    bad = Counter(p for p in positions(lake, quarantine) if p in kinds)
    # A good frame without anybody has no row in silver.
    nowhere = kinds.keys() - good - bad.keys() if "orders" in silver else set()
    return [
        *named(f"odd messages that {bronze} lacks", [kinds[p] for p in kinds.keys() - stored]),
        *named(f"odd messages twice in {bronze}", [kinds[p] for p, n in stored.items() if n > 1]),
        *named("odd messages that are neither good nor quarantined", [kinds[p] for p in nowhere]),
        *named("odd messages both good and quarantined", [kinds[p] for p in good & bad.keys()]),
        *named(f"odd messages twice in {quarantine}", [kinds[p] for p, n in bad.items() if n > 1]),
    ]


def positions(lake: Lake, table: str) -> list[Position]:
    """Where the messages lay whose rows a table holds."""
    rows = lake.read(table, POSITION)
    return [
        (topic, partition, int(position))
        for topic, partition, position in zip(
            *(rows[name].to_pylist() for name in POSITION), strict=True
        )
    ]
