"""The order topics of a house into tables in Delta, from their start and once more."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from typing import Any

from cli import processes
from cli.check.house import House, Tell
from conf.settings import Settings
from infra.local.process import wait_until
from quality.order_observer import end_offsets
from quality.reconciliation import POSITION
from streaming.lake.formats import open_lake
from streaming.lake.tables import BRONZE_ORDER_EVENTS, QUARANTINE_ORDER_EVENTS, SILVER_ORDERS

SETTLE_SECONDS = 180.0
STREAMS = ("bronze_order_events", "order_event_processor")
TABLES = (BRONZE_ORDER_EVENTS, SILVER_ORDERS, QUARANTINE_ORDER_EVENTS)

Rows = list[dict[str, Any]]


def into_delta(house: House, tell: Tell) -> list[str]:
    """The topics into tables in Delta, from their start, and once more; returns what is wrong."""
    settings = _in_delta(house.settings)
    environment = house.environment | {
        "STORELAKE_CATALOG__FORMAT": settings.catalog.format,
        "STORELAKE_CATALOG__WAREHOUSE": settings.warehouse,
    }
    wanted = [rows_of(house.settings, table.name) for table in TABLES]
    faults = []
    for chapter in ("written", "replayed"):
        shutil.rmtree(settings.checkpoints, ignore_errors=True)
        with ExitStack() as stack:
            tell(f"Delta, {chapter}")
            streams = processes.start_streams(stack, settings, tell, STREAMS, environment)
            _read_all(settings, streams, tell)
        for table, rows in zip(TABLES, wanted, strict=True):
            if rows_of(settings, table.name) != rows:
                faults.append(f"{table.name} in Delta, {chapter}, has not the rows of Iceberg")
    return faults


def _in_delta(settings: Settings) -> Settings:
    update = {"format": "delta", "warehouse": f"s3://{settings.bucket}/delta"}
    return settings.model_copy(update={"catalog": settings.catalog.model_copy(update=update)})


def _read_all(settings: Settings, streams: processes.Child, tell: Tell) -> None:
    """Wait until the streams have read every order message since they began."""
    there = sum(end_offsets(settings, settings.kafka.order_topics).values())

    def over() -> bool:
        processes.require_alive(streams, "streams", settings)
        states = processes.stream_states(settings).values()
        read = min((state["finished_rows"] for state in states), default=0)
        tell(f"{read} of {there} messages read")
        return read >= there

    if not wait_until(over, SETTLE_SECONDS, every=1.0):
        raise processes.ProcessError(
            f"the streams have not read the topics anew in {SETTLE_SECONDS:.0f} s; see "
            f"{settings.var_dir}/logs"
        )


def rows_of(settings: Settings, table: str) -> Rows:
    """Every row of a table whose rows come from messages, in the order of those.

    A list that is not there is an empty one: PyIceberg cannot tell them apart (docs/FORMATS.md).
    """
    with open_lake(settings) as lake:
        rows = lake.read(table)
    return [
        {name: None if value == [] else value for name, value in row.items()}
        for row in rows.sort_by([(name, "ascending") for name in POSITION]).to_pylist()
    ]
