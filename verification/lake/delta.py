"""The order topics into tables in Delta, from their start and once more."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import Any

from conf.settings import Settings
from infra.local.streams import stream_states
from quality.order_observer import end_offsets
from quality.reconciliation import POSITION
from streaming.lake.formats import open_lake
from streaming.lake.tables import BRONZE_ORDER_EVENTS, QUARANTINE_ORDER_EVENTS, SILVER_ORDERS
from verification.deployment import Deployment
from verification.processes import Child

READ_SECONDS = 180.0
STREAMS = ("bronze_order_events", "order_event_processor")
TABLES = (BRONZE_ORDER_EVENTS, SILVER_ORDERS, QUARANTINE_ORDER_EVENTS)

Rows = list[dict[str, Any]]


def write_delta(deployment: Deployment) -> list[str]:
    """Write the topics into Delta twice; returns a sentence for each table that differs."""
    delta = _in_delta(deployment)
    wanted = [rows_of(deployment.settings, table.name) for table in TABLES]
    faults = []
    for run in ("written", "replayed"):
        shutil.rmtree(delta.settings.checkpoints, ignore_errors=True)
        delta.step(f"Delta, {run}")
        with delta.run_streams(*STREAMS) as streams:
            _read_all(delta, streams)
        for table, rows in zip(TABLES, wanted, strict=True):
            if rows_of(delta.settings, table.name) != rows:
                faults.append(f"{table.name} in Delta, {run}, has not the rows of Iceberg")
    return faults


def _in_delta(deployment: Deployment) -> Deployment:
    warehouse = f"s3://{deployment.settings.bucket}/delta"
    update = {"format": "delta", "warehouse": warehouse}
    catalog = deployment.settings.catalog.model_copy(update=update)
    variables = {
        "STORELAKE_CATALOG__FORMAT": "delta",
        "STORELAKE_CATALOG__WAREHOUSE": warehouse,
    }
    return replace(
        deployment,
        settings=deployment.settings.model_copy(update={"catalog": catalog}),
        environment={**deployment.environment, **variables},
    )


def _read_all(deployment: Deployment, streams: Child) -> None:
    """Wait until the streams have read every order message since they started."""
    settings = deployment.settings
    there = sum(end_offsets(settings, settings.kafka.order_topics).values())

    def complete() -> bool:
        states = stream_states(settings).values()
        read = min((state["finished_rows"] for state in states), default=0)
        deployment.step(f"{read} of {there} messages read")
        return read >= there

    sentence = "the streams have not read the topics again"
    deployment.require(complete, READ_SECONDS, sentence, alive=streams)


def rows_of(settings: Settings, table: str) -> Rows:
    """Every row of a table whose rows come from messages, in the order of those.

    A missing list equals an empty one: PyIceberg cannot distinguish them (docs/FORMATS.md).
    """
    with open_lake(settings) as lake:
        rows = lake.read(table)
    return [
        {name: None if value == [] else value for name, value in row.items()}
        for row in rows.sort_by([(name, "ascending") for name in POSITION]).to_pylist()
    ]
