"""A recorded day gives the recorded tables, row by row, however the streams compute them.

After a change of results that is meant, `pytest tests/stream/test_recorded_day.py --record tables`
computes the tables of the recorded messages again and keeps them; `--record day` builds the
messages again, too (`recorded_messages.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import psycopg
import pytest

from streaming.lake.tables import SERVING_WRITERS, TABLES
from streaming.registry import NAMES
from tests.stream.recorded_messages import REFUSED, recorded_messages
from tests.stream.sandbox import Sandbox
from tests.support.recorded_day import Message, Recording, difference, row_texts

pytestmark = pytest.mark.timeout(900)

FILE = Path(__file__).with_name("recorded_day.ndjson.xz")
SERVED = (*SERVING_WRITERS, "dead_letters", "late_events")
LAKE = tuple(table.name for table in TABLES if not table.name.startswith("quality."))


@pytest.fixture(scope="module")
def recorded(pytestconfig: pytest.Config, sandbox: Sandbox) -> Recording:
    """The recording; with `--record day` one without tables yet."""
    if pytestconfig.getoption("--record") == "day":
        return Recording(recorded_messages(sandbox.settings), {})
    return Recording.read(FILE)


@pytest.fixture(scope="module")
def replayed(pytestconfig: pytest.Config, sandbox: Sandbox, recorded: Recording) -> Recording:
    """The same messages through all streams, batch by batch; kept with `--record`."""
    with psycopg.connect(sandbox.settings.owner_dsn, autocommit=True) as connection:
        connection.execute(
            f"ALTER TABLE orders_raw ADD CONSTRAINT odd CHECK (order_id <> '{REFUSED}')"
        )
        try:
            first, *others = [partial(_publish, sandbox, batch) for batch in recorded.batches]
            first()
            sandbox.run(*NAMES, steps=others)
        finally:
            connection.execute("ALTER TABLE orders_raw DROP CONSTRAINT odd")
    tables = {name: row_texts(sandbox.query(f"SELECT * FROM {name}")) for name in SERVED}  # noqa: S608
    tables |= {name: row_texts(sandbox.lake(name)) for name in LAKE}
    replayed = Recording(recorded.batches, tables)
    if pytestconfig.getoption("--record"):
        replayed.write(FILE)
    return replayed


def _publish(sandbox: Sandbox, messages: Sequence[Message]) -> None:
    # A message that a later micro-batch gets may be late.
    with sandbox.broker.at_once():
        for m in messages:
            sandbox.broker.produce(
                m.topic,
                m.value,
                m.key,
                partition=m.partition,
                timestamp=m.timestamp,
                headers=m.headers,
            )


@pytest.fixture(scope="module")
def expected(replayed: Recording) -> Mapping[str, Sequence[str]]:
    """The recorded rows of each table."""
    return Recording.read(FILE).tables


@pytest.mark.parametrize("table", [*SERVED, *LAKE])
def test_the_rows_are_the_recorded_ones(
    table: str, replayed: Recording, expected: Mapping[str, Sequence[str]]
) -> None:
    assert expected[table]
    if report := difference(expected[table], replayed.tables[table]):
        pytest.fail(report, pytrace=False)
