"""What `storelake check` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

PLACES = (
    ("sent", "messages, repeats and broken ones included"),
    ("in_kafka", "of them in Kafka, byte for byte; a repeat that the gateway knows is no new one"),
    ("bronze", "in bronze.order_events"),
    ("silver", "in silver.orders"),
    ("quarantined", "in quarantine.order_events: the broken ones"),
    ("late", "in quarantine.late_events: good, and too late for their hour"),
    ("orders_raw", "event ids in orders_raw"),
    ("orders_processed", "orders in orders_processed, at their newest version"),
    ("orders_counted", "orders in order_metrics: those that were on time"),
)


def summary(report: Mapping[str, Any]) -> Table:
    """The numbers, and the verdict in the title."""
    verdict = Text("ok", "bold green") if report["ok"] else Text("not ok", "bold red")
    table = Table(title=Text.assemble(f"check {report['run_id']}: ", verdict), show_header=False)
    table.add_column(style="cyan")
    table.add_column(justify="right")
    table.add_column(style="dim")
    for name, meaning in PLACES:
        table.add_row(name.replace("_", " "), f"{report[name]:,}", meaning)
    for name, meaning in (
        ("missing", "messages that are not at every place where they belong"),
        ("duplicated", "positions, events or orders that are somewhere twice"),
    ):
        number = Text(f"{report[name]:,}", "bold red" if report[name] else "bold green")
        table.add_row(name, number, meaning)
    latency = report["latency_seconds"]
    for name in ("p50", "p95"):
        seconds = "-" if latency[name] is None else f"{latency[name]:.2f} s"
        table.add_row(f"latency {name}", seconds, "from the till to a reader of orders_raw")
    return table


def beside_truth(result: Mapping[str, Any]) -> Table:
    """What cameras count beside what happened, and the verdict in the title."""
    verdict = Text("ok", "bold green") if result["ok"] else Text("not ok", "bold red")
    table = Table("", "measured", "true", title=Text.assemble("cameras: ", verdict))
    for name in ("entries", "exits", "conversion"):
        table.add_row(name, str(result[name]), str(result[f"true_{name}"]))
    for key, zone in result["zones"].items():
        table.add_row(f"visits of {key}", str(zone["visits"]), str(zone["true_visits"]))
        table.add_row("  mean dwell, s", str(zone["mean_s"]), str(zone["true_mean_s"]))
    table.add_row("dwell error, s", str(result["dwell_error_s"]), "")
    table.add_row("latency p95, s", str(result["latency_p95_s"]), "")
    table.add_row("frames a second", str(result["fps"]), f"{result['fps_bare_model']} without")
    return table
