"""Dead letters with a real database and a real broker: kept whole, fixed, sent back."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import Result
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from typer.testing import CliRunner

from cli.main import app
from conf.errors import StorelakeError
from conf.settings import KafkaSettings, Settings
from dashboard.redrives import Redrives
from streaming.dlq_ids import DlqError
from streaming.sinks.dlq_edits import CHUNK
from streaming.sinks.dlq_entries import Selection
from streaming.sinks.dlq_store import open_dead_letters
from streaming.sinks.dlq_table import write_validated
from streaming.sinks.kafka_producer import DlqProducer
from streaming.sinks.postgres import Database
from streaming.source import SOURCE_SCHEMA
from tests.conftest import free_ports
from tests.support.builders import as_json, event_id, order_event
from tests.support.postgres_local import delete_rows

pytestmark = pytest.mark.requirement("Q2")

Row = dict[str, Any]
Headers = Sequence[tuple[str, bytes | None]]

TEN = datetime(2024, 5, 1, 10, tzinfo=timezone.utc)
VALIDATED = pa.schema(
    [
        *SOURCE_SCHEMA,
        pa.field("rules", pa.list_(pa.string())),
        pa.field("event_id", pa.string()),
        pa.field("order_id", pa.string()),
    ]
)
runner = CliRunner()


@pytest.fixture(autouse=True)
def empty(db: Database) -> None:
    delete_rows(db, "dead_letters")


@pytest.fixture(autouse=True)
def shell(environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment that the command reads its settings from."""
    for key in os.environ.keys() - environment.keys():
        monkeypatch.delenv(key)
    for key, value in environment.items():
        monkeypatch.setenv(key, value)


def entry(number: int = 1, headers: Headers | None = None, **overrides: Any) -> Row:
    """A validated message at this position of order-created, rejected for its price."""
    row = {
        "key": b"O-1",
        "value": as_json(order_event(total_price=-1, event_id=event_id("E-1"))),
        "topic": "order-created",
        "partition": 0,
        "position": f"{number:020d}",
        "timestamp": TEN + timedelta(minutes=number),
        "headers": [{"key": n, "value": v} for n, v in headers] if headers else None,
        "rules": ["total_price_money", "total_equals_items"],
        "event_id": event_id("E-1"),
        "order_id": "O-1",
    }
    return {**row, **overrides}


def reject(db: Database, *rows: Row) -> None:
    with db.transaction() as connection:
        write_validated(connection, pa.Table.from_pylist(list(rows), schema=VALIDATED))


def stored(db: Database) -> dict[str, Row]:
    return {r["id"]: r for r in db.fetch("SELECT * FROM dead_letters ORDER BY position")}


def one(db: Database) -> Row:
    (row,) = stored(db).values()
    return row


def dlq(*arguments: str) -> Result:
    return runner.invoke(app, ["dlq", *arguments])


def done(*arguments: str) -> str:
    """What a command states that works."""
    result = dlq(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return str(result.stdout)


def rejection(*arguments: str) -> str:
    """The sentence of a command that does not work; anything else than a sentence fails."""
    error = dlq(*arguments).exception
    assert isinstance(error, StorelakeError), error
    return str(error)


def read_back(kafka: KafkaSettings, place: str) -> Any:
    """The message at topic/partition/position."""
    topic, partition, offset = place.rsplit("/", 2)
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "test-dead-letters"})
    try:
        consumer.assign([TopicPartition(topic, int(partition), int(offset))])
        message = consumer.poll(20)
        assert message is not None
        assert message.error() is None
        assert message.offset() == int(offset)
        return message
    finally:
        consumer.close()


def ends(kafka: KafkaSettings, topic: str = "order-created") -> int:
    """How many messages a topic has ever got."""
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "test-dead-letters"})
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        return sum(
            consumer.get_watermark_offsets(TopicPartition(topic, n), timeout=10)[1]
            for n in partitions
        )
    finally:
        consumer.close()


# What the stream keeps


@pytest.mark.parametrize(
    "value",
    [b"", None, b"\x00\xff\\x00", b'a\n\\.\nb,"c"', "Käse 🧀".encode(), b"\xed\xa0\x80"],
    ids=["empty", "null", "bytes", "what ends a copy", "text", "half a surrogate"],
)
def test_key_and_value_are_kept_byte_for_byte(db: Database, value: bytes | None) -> None:
    reject(db, entry(key=value, value=value))
    assert (one(db)["key"], one(db)["value"]) == (value, value)


def test_a_value_of_five_megabytes_is_kept_whole(db: Database) -> None:
    value = os.urandom(5_000_000)
    reject(db, entry(value=value, rules=["value_not_too_large"]))
    assert one(db)["value"] == value


def test_headers_are_kept_in_their_order_even_twice_or_without_a_value(
    db: Database, services: Settings
) -> None:
    headers = [("trace", b"\x00"), ("trace", b"2"), ("flag", None), ("nul\x00", b"x")]
    reject(db, entry(headers=headers))
    with open_dead_letters(services, "test") as store:
        (found,) = store.get(["order-created/0/1"])
    assert found.headers == headers


def test_a_message_that_comes_again_is_one_rejected_message_and_keeps_what_became_of_it(
    db: Database,
) -> None:
    reject(db, entry())
    done("fix", "order-created/0/1", "--set", "order.total_price=2.5")
    before = one(db)
    reject(db, entry(), entry(2))
    assert stored(db)["order-created/0/1"] == before
    assert len(stored(db)) == 2


def test_ids_that_were_not_read_or_do_not_fit_an_index_are_left_out(db: Database) -> None:
    reject(
        db,
        entry(1, rules=["storable_text"], event_id="a\x00b", order_id="O\x00"),
        entry(2, order_id="X" * 900_000, event_id=""),
        entry(3, order_id="Ö 7", event_id="not-a-uuid"),
    )
    ids = [(row["event_id"], row["order_id"]) for row in stored(db).values()]
    assert ids == [(None, None), (None, None), ("not-a-uuid", "Ö 7")]


def test_without_a_time_from_the_broker_it_counts_as_received_when_rejected(db: Database) -> None:
    before = datetime.now(timezone.utc)
    reject(db, entry(timestamp=None, rules=["event_time_not_in_future"]))
    assert before <= one(db)["received_at"] <= datetime.now(timezone.utc)


def test_what_is_rejected_again_takes_the_place_of_its_origin(db: Database) -> None:
    reject(db, entry(1), entry(2))
    reject(db, entry(3, headers=[("storelake-origin", f"order-created/0/{1:020d}".encode())]))
    assert {k: (r["status"], r["origin"]) for k, r in stored(db).items()} == {
        "order-created/0/1": ("superseded", None),
        "order-created/0/2": ("open", None),
        "order-created/0/3": ("open", "order-created/0/1"),
    }
    assert stored(db)["order-created/0/1"]["redriven_as"] == "order-created/0/3"


def test_a_rejected_message_cannot_take_itself_off_the_list(db: Database) -> None:
    reject(db, entry(1, headers=[("storelake-origin", b"order-created/0/1")]))
    assert (one(db)["status"], one(db)["origin"]) == ("open", None)


def test_a_whole_batch_of_rejected_messages_is_kept(db: Database) -> None:
    reject(db, *(entry(n, value=b"{}") for n in range(20_000)))
    assert db.fetch("SELECT count(*) AS n FROM dead_letters") == [{"n": 20_000}]


# List, count, show


def test_the_list_is_what_was_asked_for_the_newest_first(db: Database) -> None:
    reject(
        db,
        entry(1),
        entry(2, rules=["branch_known"]),
        entry(3, topic="order-updated", rules=["branch_known", "items_present"]),
    )

    def listed(*options: str) -> list[str]:
        return [row["id"] for row in json.loads(done("list", "--format", "json", *options))]

    assert listed() == ["order-updated/0/3", "order-created/0/2", "order-created/0/1"]
    assert listed("--limit", "1") == ["order-updated/0/3"]
    assert listed("--rule", "branch_known") == ["order-updated/0/3", "order-created/0/2"]
    assert listed("--rule", "branch_known", "--topic", "order-created") == ["order-created/0/2"]
    assert listed("--since", "2024-05-01T10:02:00Z") == listed("--rule", "branch_known")
    assert listed("--since", "2024-05-01T10:02:00+02:00") == listed()
    assert listed("--since", "2024-05-02") == []
    assert listed("--status", "resolved") == []
    assert listed("--status", "all") == listed()


def test_the_list_as_json_reports_all_but_the_bytes(db: Database) -> None:
    reject(db, entry(value=b"12345"))
    (row,) = json.loads(done("list", "--format", "json"))
    assert row["value_bytes"] == 5
    assert row["received_at"] == "2024-05-01T10:01:00.000Z"
    assert row["rules"] == ["total_price_money", "total_equals_items"]
    assert "value" not in row


def test_the_table_names_each_rejected_message_its_order_and_its_rules(db: Database) -> None:
    reject(db, entry(rules=["branch_known"], order_id="O-77"))
    lines = done("list").splitlines()
    assert "order-created/0/1" in lines[1]
    assert "O-77" in lines[1]
    assert "2024-05-01 10:01" in lines[1]


def test_counts_are_by_rule_and_topic(db: Database) -> None:
    reject(
        db,
        entry(1),
        entry(2, rules=["total_price_money"]),
        entry(3, topic="order-updated"),
    )
    found = json.loads(done("counts", "--format", "json"))
    assert [(c["rule"], c["topic"], c["dead_letters"]) for c in found] == [
        ("total_price_money", "order-created", 2),
        ("total_equals_items", "order-created", 1),
        ("total_equals_items", "order-updated", 1),
        ("total_price_money", "order-updated", 1),
    ]
    assert "total_price_money" in done("counts")


def test_a_page_reports_what_is_wrong_where_and_what_it_means(db: Database) -> None:
    reject(db, entry(headers=[("trace", b"t-1")]))
    page = done("show", "order-created/0/1")
    assert "order-created/0/1: open" in page
    assert "total_price_money: order.total_price is no positive amount" in page
    assert "order.total_price: expected more than 0, got -1" in page
    assert "  trace: t-1" in page
    assert '    "total_price": -1,' in page


def test_a_page_of_broken_bytes_shows_them_and_moves_no_cursor(db: Database) -> None:
    reject(db, entry(value=b'{"a": \x1b[2J\xff', key=b"\x1b]0;x\x07", rules=["valid_utf8"]))
    page = done("show", "order-created/0/1")
    assert "no JSON: byte 10 is no UTF-8" in page
    assert r'{"a": \x1b[2J\xff' in page
    assert "\x1b" not in page
    assert "\x07" not in page


def test_raw_prints_the_bytes_and_nothing_else(db: Database) -> None:
    reject(db, entry(value=b"\x00\xff{"))
    assert dlq("show", "order-created/0/1", "--raw").stdout_bytes == b"\x00\xff{"


# Fix


def test_a_fix_stands_beside_the_original_with_its_money_exact(db: Database) -> None:
    original = entry()["value"]
    reject(db, entry())
    output = done("fix", "order-created/0/1", "--set", "order.total_price=2.50")
    assert "It fits the contract" in output
    assert one(db)["value"] == original
    assert one(db)["fixed_value"] == original.replace(b'"total_price":-1', b'"total_price":2.50')


def test_fixes_add_up_until_somebody_starts_from_the_original(db: Database) -> None:
    reject(db, entry())
    done("fix", "order-created/0/1", "--set", "order.total_price=2.50", "--set", "source=a")
    done("fix", "order-created/0/1", "--set", "order.currency=EUR")
    both = json.loads(one(db)["fixed_value"])
    done("fix", "order-created/0/1", "--original", "--set", "order.currency=EUR")
    again = json.loads(one(db)["fixed_value"])
    assert (both["source"], both["order"]["currency"]) == ("a", "EUR")
    assert (again["source"], again["order"]["currency"]) == ("pos-B01", "EUR")


def test_a_fix_reports_what_the_contract_still_objects_to(db: Database) -> None:
    reject(db, entry())
    output = done("fix", "order-created/0/1", "--set", "order.items[0].quantity=0")
    assert "order.items[0].quantity: expected at least 1, got 0" in output
    assert "order.total_price: expected more than 0, got -1" in output


def test_broken_text_is_mended_in_a_file(db: Database, tmp_path: Path) -> None:
    reject(db, entry(value=b"{not json", rules=["json_object"], key=None))
    assert "line 1, column 2" in rejection("fix", "order-created/0/1", "--set", "source=a")
    file = tmp_path / "mended.json"
    file.write_bytes(as_json(order_event(order_id="O-9")))
    assert "its key will be O-9" in done("fix", "order-created/0/1", "--value", str(file))
    assert one(db)["fixed_value"] == file.read_bytes()


def test_what_cannot_be_fixed_is_refused_with_the_reason(db: Database, tmp_path: Path) -> None:
    reject(db, entry())
    huge = tmp_path / "huge.json"
    huge.write_bytes(b'{"a":"' + b"x" * 1_048_576 + b'"}')
    fix = ("fix", "order-created/0/1")
    assert "has no ordr" in rejection(*fix, "--set", "ordr.total_price=1")
    assert "is no path=value" in rejection(*fix, "--set", "order.total_price")
    assert "larger than 1 MiB" in rejection(*fix, "--value", str(huge))
    assert dlq(*fix).exit_code == 2
    assert "There is no dead letter order-created/0/7" in rejection("show", "order-created/0/7")
    assert "is no id of a dead letter" in rejection("show", "seven")
    assert "There is no rule price" in rejection("list", "--rule", "price")
    assert "carries no orders" in rejection("list", "--topic", "order-dlq")
    assert one(db)["fixed_at"] is None


@pytest.fixture
def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets $EDITOR to a shell command that gets the file as $1."""

    def use(command: str) -> None:
        script = tmp_path / "editor"
        script.write_text(f"#!/bin/sh\n{command}\n", encoding="utf-8")
        script.chmod(0o700)
        monkeypatch.setenv("VISUAL", str(script))

    return use


def test_a_value_is_edited_in_the_editor(db: Database, editor: Callable[[str], None]) -> None:
    reject(db, entry())
    editor('sed -i "s/\\"total_price\\": -1/\\"total_price\\": 2.50/" "$1"')
    assert "It fits the contract" in done("fix", "order-created/0/1", "--edit")
    assert b'"total_price":2.50' in one(db)["fixed_value"]


def test_an_editor_that_changes_nothing_stores_nothing(
    db: Database, editor: Callable[[str], None]
) -> None:
    reject(db, entry())
    editor("true")
    assert "Nothing was changed" in done("fix", "order-created/0/1", "--edit")
    assert one(db)["fixed_at"] is None


def test_an_edit_that_is_no_json_opens_again_and_is_kept(
    db: Database, editor: Callable[[str], None]
) -> None:
    reject(db, entry())
    editor('echo "{my edit" > "$1"')
    sentence = rejection("fix", "order-created/0/1", "--edit")
    assert "This is no JSON (line 1, column 2" in sentence
    kept = Path(sentence.rsplit(" ", 1)[1].removesuffix("."))
    assert kept.read_text() == "{my edit\n"
    kept.unlink()


def test_all_of_a_rule_are_edited_after_the_difference_was_shown(db: Database) -> None:
    reject(db, entry(1), entry(2, value=b"{"), entry(3, rules=["branch_known"]))
    change = ("fix", "--rule", "total_price_money", "--set", "order.total_price=2.50")
    shown = done(*change, "--dry-run")
    assert "order-created/0/1\n  order.total_price: -1 -> 2.50" in shown
    assert "2 dead letters would be edited" in shown
    assert dlq(*change).exit_code == 1, "nobody confirms"
    assert [row["fixed_at"] for row in stored(db).values()] == [None] * 3
    result = dlq(*change, "--yes")
    assert (result.exit_code, "1 edited" in result.stdout) == (1, True)
    assert "order-created/0/2 was not edited: order-created/0/2 is no JSON" in result.stderr
    assert [row["fixed_at"] is None for row in stored(db).values()] == [False, True, True]


def test_of_two_edits_at_once_the_second_is_refused(db: Database, services: Settings) -> None:
    reject(db, entry())
    with open_dead_letters(services, "Ada") as store:
        (seen,) = store.get(["order-created/0/1"])
        done("fix", "order-created/0/1", "--set", "source=a")
        with pytest.raises(DlqError, match="somebody else edited it"):
            store.store_fix(seen, b"{}")
        acts = [(act.actor.split(":")[0], act.action) for act in store.audit(seen.id)]
    assert acts[:2] == [("terminal", "edited"), ("terminal", "opened")]


def test_pages_of_the_list_follow_each_other(db: Database, services: Settings) -> None:
    reject(db, *(entry(n, timestamp=TEN) for n in range(1, 13)), entry(13, topic="order-updated"))
    with open_dead_letters(services, "Ada") as store:
        pages, after = [], None
        while page := store.heads(Selection(status="open"), 5, after):
            pages.append([head.id for head in page])
            after = page[-1].id
    assert [len(page) for page in pages] == [5, 5, 3]
    assert len({one for page in pages for one in page}) == 13


# Redrive


def test_a_rejected_message_continues_back_as_it_came_with_the_position_it_came_from(
    db: Database, services: Settings
) -> None:
    value = b'{ "as it":\t"came" }'
    reject(db, entry(value=value, headers=[("trace", b"\x00"), ("storelake-rules", b"[]")]))
    done("redrive", "order-created/0/1")
    row = one(db)
    message = read_back(services.kafka, row["redriven_as"])
    assert (message.topic(), message.key(), message.value()) == ("order-created", b"O-1", value)
    assert message.headers() == [("trace", b"\x00"), ("storelake-origin", b"order-created/0/1")]
    assert row["status"] == "redriven"
    assert row["redriven_at"] is not None


def test_a_tombstone_without_a_key_continues_back_as_one(db: Database, services: Settings) -> None:
    reject(db, entry(key=None, value=None, rules=["value_present"]))
    done("redrive", "--all")
    message = read_back(services.kafka, one(db)["redriven_as"])
    assert (message.key(), message.value()) == (None, None)


def test_a_fixed_rejected_message_continues_back_with_its_order_as_the_key(
    db: Database, services: Settings
) -> None:
    good = as_json(order_event(order_id="O-5"))
    reject(db, entry(key=b"O-6", value=good, rules=["key_is_order_id"], order_id="O-5"))
    done("fix", "order-created/0/1")
    done("redrive", "order-created/0/1")
    message = read_back(services.kafka, one(db)["redriven_as"])
    assert (message.key(), message.value()) == (b"O-5", good)


def test_what_was_sent_back_is_not_sent_again(db: Database, services: Settings) -> None:
    reject(db, entry())
    done("redrive", "--all")
    before, row = ends(services.kafka), one(db)
    assert "Nothing to send" in done("redrive", "--all")
    assert "order-created/0/1 is redriven" in dlq("redrive", "order-created/0/1").stderr
    assert ends(services.kafka) == before
    assert one(db) == row


def test_only_what_was_chosen_continues_and_a_dry_run_sends_nothing(
    db: Database, services: Settings
) -> None:
    reject(
        db,
        entry(1),
        entry(2, rules=["branch_known"]),
        entry(3, rules=["branch_known"]),
    )
    before = ends(services.kafka)
    output = done("redrive", "--rule", "branch_known", "--dry-run")
    assert output.splitlines() == ["order-created/0/2", "order-created/0/3", "2 would be sent."]
    assert ends(services.kafka) == before
    done("redrive", "--rule", "branch_known", "--since", "2024-05-01T10:03:00Z")
    assert [r["status"] for r in stored(db).values()] == ["open", "open", "redriven"]
    assert dlq("redrive").exit_code == 2


def test_rejected_messages_of_one_order_go_back_in_their_order_however_many(
    db: Database, services: Settings
) -> None:
    count = 2 * CHUNK + 3
    reject(db, *(entry(n, value=str(n).encode()) for n in range(count)))
    done("redrive", "--all")
    places = [row["redriven_as"].split("/") for row in stored(db).values()]
    assert len({partition for _, partition, _ in places}) == 1
    offsets = [int(offset) for _, _, offset in places]
    assert offsets == list(range(offsets[0], offsets[0] + count))


def test_an_unknown_rejected_message_among_the_named_ones_stops_all(
    db: Database, services: Settings
) -> None:
    reject(db, entry())
    before = ends(services.kafka)
    rejection("redrive", "order-created/0/1", "order-created/0/99")
    assert ends(services.kafka) == before
    assert one(db)["status"] == "open"


def test_the_verdict_of_the_stream_is_not_undone_by_a_late_mark(
    db: Database, services: Settings
) -> None:
    reject(db, entry(1))
    reject(db, entry(2, headers=[("storelake-origin", b"order-created/0/1")]))
    with open_dead_letters(services, "test") as store:
        store.mark_redriven({"order-created/0/1": "order-created/0/2"})
    row = stored(db)["order-created/0/1"]
    assert (row["status"], row["redriven_as"]) == ("superseded", "order-created/0/2")
    assert "so fix order-created/0/2" in rejection("fix", "order-created/0/1", "--set", "source=a")
    assert "rejected again order-created/0/2" in done("show", "order-created/0/1")


def test_the_console_sends_back_all_of_a_rule_that_were_confirmed(
    db: Database, services: Settings
) -> None:
    reject(db, entry(1), entry(2), entry(3, rules=["branch_known"]))
    redrives = Redrives(services)
    redrives.start("Ada", "all", Selection(rule="total_price_money", status="open"), 2)
    redrives.wait(60)
    assert redrives.state is not None
    assert redrives.state.error is None
    assert [row["status"] for row in stored(db).values()] == ["redriven", "redriven", "open"]
    redrives.start("Ada", "all", Selection(status="open"), 0)
    redrives.wait(60)
    assert "there are 1 by now" in str(redrives.state.error)
    assert stored(db)["order-created/0/3"]["status"] == "open"


def test_only_one_redrive_runs_at_a_time_and_nothing_is_edited_meanwhile(
    db: Database, services: Settings
) -> None:
    reject(db, entry())
    edit = ("fix", "order-created/0/1", "--set", "source=a")
    with open_dead_letters(services, "test") as store, store.alone():
        assert "Somebody else" in rejection("redrive", "--all")
        assert "are being sent back" in " ".join(rejection(*edit).split())
    assert (one(db)["status"], one(db)["fixed_at"]) == ("open", None)
    done(*edit)


def test_a_rejected_message_that_its_topic_does_not_take_remains_open(db: Database) -> None:
    reject(db, entry(1, value=b"x" * 5_000_000, rules=["value_not_too_large"]), entry(2))
    result = dlq("redrive", "--all")
    assert result.exit_code == 1
    assert "order-created/0/1 was not sent: it is larger than the topic takes." in result.stderr
    assert [r["status"] for r in stored(db).values()] == ["open", "redriven"]


def test_without_a_broker_the_rejected_message_remains_open_and_a_sentence_reports_so(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    reject(db, entry())
    (port,) = free_ports(1)
    monkeypatch.setenv("STORELAKE_KAFKA__PORT", str(port))
    assert f"Kafka at 127.0.0.1:{port} does not answer" in rejection("redrive", "--all")
    assert one(db)["status"] == "open"


def test_without_a_database_a_sentence_reports_so(monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    monkeypatch.setenv("STORELAKE_POSTGRES__PORT", str(port))
    assert f"Postgres at 127.0.0.1:{port} does not answer" in rejection("list")


# The topic of dead letters


def test_a_message_too_large_for_the_rejected_message_topic_is_reported_of_there_without_its_value(
    services: Settings,
) -> None:
    topic = "test-small-dlq"
    client = {"bootstrap.servers": services.kafka.bootstrap}
    admin = AdminClient(client)
    small = NewTopic(topic, 1, 1, config={"max.message.bytes": "1000"})
    admin.create_topics([small], operation_timeout=20)[topic].result(30)
    try:
        messages = [(b"O-1", b"{}", []), (b"O-2", b"x" * 5_000, [("trace", b"1")])]
        kafka = services.kafka.model_copy(update={"order_dlq": topic})
        assert DlqProducer(kafka).send(messages) == 2
        whole, cut = (read_back(services.kafka, f"{topic}/0/{n}") for n in range(2))
        assert (whole.key(), whole.value()) == (b"O-1", b"{}")
        assert (cut.key(), cut.value()) == (b"O-2", None)
        assert cut.headers() == [("trace", b"1"), ("storelake-value-bytes", b"5000")]
        # Larger than its client sends at all, and more than its queue holds at once.
        many = [(b"O-3", b"x" * 17_000_000, []), *[(b"O-4", b"x" * 900, [])] * 50]
        assert DlqProducer(kafka, queue_kbytes=20).send(many) == 51
        sent = [read_back(services.kafka, f"{topic}/0/{n}") for n in range(2, 53)]
        assert sorted(m.key() for m in sent) == [b"O-3", *[b"O-4"] * 50]
        assert [m.value() for m in sent if m.key() == b"O-3"] == [None]
    finally:
        admin.delete_topics([topic], operation_timeout=20)[topic].result(30)
