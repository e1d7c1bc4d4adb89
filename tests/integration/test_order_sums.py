"""The sums of a ledger and those of order_metrics: the same for whatever tills send."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pytest

from conf.contracts.topics import event_topics
from conf.settings import CONF_DIR, Settings
from conf.stores import load_stores
from quality.order_sums import compare_sums, stored_sums, sums_of
from simulator.history import HOUR, Span, order_history
from simulator.ledger import Delivery, Entry, Ledger, read_ledger
from streaming.sinks.orders import stage_orders, write_orders
from streaming.sinks.postgres import Database
from streaming.source import SOURCE_SCHEMA
from streaming.transforms.order_event_processor import silver_orders
from streaming.transforms.quarantine import split_validated
from tests.support.messages import cases, read_case, to_rows
from tests.support.postgres_local import delete_rows

pytestmark = pytest.mark.requirement("O10")

TEN = datetime(2024, 5, 1, 10, tzinfo=timezone.utc)
STORES = load_stores(CONF_DIR / "stores" / "demo.toml")
Written = tuple[list[Entry], pa.Table]


@pytest.fixture(scope="module")
def ledger(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Two hours of all branches and versions: the lines of the ledger, and the rows of silver."""
    path: Path = tmp_path_factory.mktemp("sums") / "ledger.ndjson"
    topics, messages = event_topics(settings.kafka), []
    events = order_history(
        STORES.branches, Span(TEN, TEN + 2 * HOUR), mean=100, seed=1, run_id="sums", version=None
    )
    with Ledger(path, "sums") as book:
        for number, event in enumerate(events):
            topic = topics[event.event_type]
            book.note(event, Delivery("accepted", topic, 0, number))
            messages.append(
                {
                    "key": event.key, "value": event.value, "topic": topic, "partition": 0,
                    "position": f"{number:020d}", "timestamp": event.made_at,
                }
            )  # fmt: skip
    rows = silver_orders(STORES, timedelta(minutes=10))(
        pa.Table.from_pylist(messages, SOURCE_SCHEMA)
    )
    return read_ledger(path), rows


@pytest.fixture(autouse=True)
def counted(db: Database, ledger: Written) -> None:
    """Everything is counted, in two batches; some of it twice."""
    _, rows = ledger
    delete_rows(db, "order_contributions, order_metrics, payments_hourly")
    for batch in (rows.slice(0, 1000), rows.slice(500)):
        with db.transaction() as connection:
            stage_orders(connection, batch)
            connection.execute("SELECT upsert_order_metrics()")


def differences(db: Database, entries: Sequence[Entry]) -> list[str]:
    wanted = sums_of(entries)
    hours, ids = {key.hour for key in wanted}, {e.order_id for e in entries}
    return compare_sums(wanted, stored_sums(db, hours, ids))


def test_order_metrics_have_the_sums_of_the_ledger(db: Database, ledger: Written) -> None:
    entries, _ = ledger
    assert len({key.currency for key in sums_of(entries)}) > 2
    assert sum(sums["return_count"] for sums in sums_of(entries).values()) > 5
    assert differences(db, entries) == []


def test_the_orders_of_others_in_the_same_hours_are_left_out(db: Database, ledger: Written) -> None:
    ours = {order_id for order_id in {e.order_id for e in ledger[0]} if order_id[-1] in "02468R"}
    assert differences(db, [e for e in ledger[0] if e.order_id in ours]) == []


def test_a_sum_that_somebody_changes_is_named(db: Database, ledger: Written) -> None:
    with db.transaction() as connection:
        connection.execute(
            "UPDATE order_metrics SET refunds = refunds + 1 WHERE branch_id = 'B02' AND hour = %s "
            "AND currency = 'USD'",
            (TEN,),
        )
    (difference,) = differences(db, ledger[0])
    assert difference.startswith("order_metrics of B02 at 2024-05-01 10:00 in USD: refunds is ")


@pytest.mark.parametrize("case", cases("order_event_processor"), ids=lambda path: path.name)
def test_postgres_stores_every_order_that_the_rules_accept(db: Database, case: Path) -> None:
    """Each alone: they have the same id."""
    _, messages, _ = read_case(case)
    rows = silver_orders(STORES, timedelta(minutes=10))(to_rows("order-created", messages))
    good, _ = split_validated(rows)
    for number in range(good.num_rows):
        with db.transaction() as connection, connection.transaction(force_rollback=True):
            write_orders(connection, good.slice(number, 1))
            connection.execute("SELECT upsert_order_metrics(), upsert_order_items()")
