"""Tables of the commands in terminals of every width, and in pipes."""

from __future__ import annotations

import io
from collections import Counter
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path

import pytest
from rich.console import Console

from cli.answers import answer_table
from cli.dlq_output import counts_table, heads_table
from cli.keys import keys_table
from cli.maintain import maintenance_table
from cli.models import models_table
from cli.privacy import places_table
from cli.quality_output import failures_table
from cli.retention import purged_table
from cli.send import summary_table
from cli.tables import services_table
from inference_service.model_files import model_files
from infra.local import ServiceStatus
from infra.terminal_table import TextTable
from quality.results import Result
from simulator.ledger import SendReport
from streaming.lake.iceberg.purge import Purged
from streaming.lake.maintenance.run import Done
from streaming.privacy.erase import ErasedPlace
from streaming.sinks.dlq_store import Count, DlqSummary

THEN = datetime(2024, 5, 1, 10, 30, tzinfo=timezone.utc)
UUID = "7f9c24e8-3b12-4fef-91d5-0c2b8e6a5d10"
KEY: dict[str, str | list[str] | None] = {
    "id": "k_4fzs9vqm2d",
    "name": "the till beside the entrance",
    "branches": ["branch-hamburg-altona", "branch-kolkata-park-street"],
    "scopes": ["orders", "status", "test"],
    "made": "2024-05-01T10:30:00+00:00",
    "expires": "2024-07-30T10:30:00+00:00",
    "used": None,
    "state": "active",
}


def result() -> Result:
    return Result(
        "silver.detections", "silver_detections", "bounding_boxes_lie_inside_the_frame",
        "expect_column_pair_values", "critical", "failed", 1, 1_234_567, 4_321, None, "[]",
        "A box reaches over the edge of its frame, so the camera reports another size.",
    )  # fmt: skip


@pytest.fixture(scope="module")
def tables() -> dict[str, TextTable]:
    """The table of every command, with values as long as they come."""
    dead = DlqSummary(
        "order-status-changed/11/123456789", "order-status-changed", "superseded",
        ["total_equals_items", "total_price_money", "branch_known"], UUID, UUID, 700, THEN, THEN,
        None, None, None, None, None,
    )  # fmt: skip
    sent = SendReport(UUID, 10, seconds=2.0, by_poison=Counter({"total_equals_items": 3}))
    address = "http://storelake-gateway.internal.example:18081"
    place = ErasedPlace(
        "files", "var/inference/ndjson/cam-entrance-1.ndjson.xz", 3, 12, THEN, "in use"
    )
    return {
        "status": services_table([ServiceStatus("maintenance", "not answering", address, 7)]),
        "dlq list": heads_table([dead, dead]),
        "dlq counts": counts_table([Count("total_equals_items", "order-updated", 9, THEN, THEN)]),
        "keys list": keys_table([KEY]),
        "maintain": maintenance_table(
            [Done("gold.zone_dwell_hourly", "compacted", 912, 3)], "done"
        ),
        "models list": models_table(model_files(Path("/home/storelake/.cache/storelake"))),
        "privacy": places_table(42, [place]),
        "quality": failures_table([result()]),
        "retention": purged_table([Purged("silver.line_crossings", 9, 9, 9, 0, THEN, ())]),
        "send": summary_table(sent),
        "sql": answer_table(
            ("order_id", "total_price", "items", "created_at", "name"),
            [(UUID, Decimal("1234567.50"), [{"id": UUID}], THEN, "Ärmelloses Hemd 半袖シャツ")],
        ),
    }


NAMES = (
    "status", "dlq list", "dlq counts", "keys list", "maintain", "models list", "privacy",
    "quality", "retention", "send", "sql",
)  # fmt: skip


def parts(table: TextTable) -> set[str]:
    """What must be whole: parts between spaces of prose, and all other cells."""
    whole: set[str] = set()
    for row in table.rows:
        for name, cell in zip(table.names, map(str, row), strict=True):
            whole.update(cell.split() if name in table.prose else [cell.strip()])
    return whole


@pytest.mark.parametrize("width", [120, 80, 60, 40])
@pytest.mark.parametrize("name", NAMES)
def test_no_id_name_or_number_is_broken_in_a_terminal(
    tables: dict[str, TextTable], name: str, width: int
) -> None:
    out = io.StringIO()
    terminal = Console(file=out, width=width, force_terminal=True, no_color=True, highlight=False)
    terminal.print(tables[name], crop=False)

    shown = out.getvalue().replace("\x1b[1m", "").replace("\x1b[0m", "")
    for part in parts(tables[name]):
        assert part in shown
    for line in shown.splitlines():
        assert terminal.measure(line).maximum <= width or len(line.split()) == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_pipe_gets_each_row_as_one_line(tables: dict[str, TextTable], name: str) -> None:
    out = io.StringIO()
    Console(file=out, width=40, soft_wrap=True).print(tables[name])

    table, lines = tables[name], out.getvalue().splitlines()
    assert len(lines) == bool(table.title) + 1 + len(table.rows)
    for row, line in zip(table.rows, lines[-len(table.rows) :], strict=True):
        assert all(str(cell).strip() in line for cell in row)


def test_control_characters_of_a_value_do_nothing_to_the_terminal() -> None:
    out = io.StringIO()
    Console(file=out).print(TextTable(("id",), [("a\nb\x1b[31m",)]))
    assert out.getvalue().splitlines()[1] == r"a\nb\x1b[31m"


def test_an_answer_without_rows_has_its_heads_in_a_terminal() -> None:
    out = io.StringIO()
    terminal = Console(file=out, width=40, force_terminal=True, no_color=True)
    terminal.print(answer_table(("order_id", "n"), []))
    assert "order_id" in out.getvalue()
