"""`storelake seed`: what a second call sends after one that was interrupted, and where it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from conf.settings import Settings
from quality.order_observer import open_log
from quality.past_messages import event_id_of
from quality.seed_state import SeedError, SeedState, begin_past
from quality.seeding import PastSender
from simulator.transport import KafkaTransport
from streaming.lake.formats import open_lake
from streaming.sinks.postgres import Database
from streaming.sources.log import Range

pytestmark = pytest.mark.requirement("M3")

END = datetime(2026, 11, 30, 9, tzinfo=timezone.utc)
TOPICS = ("order_created", "order_updated", "order_cancelled", "order_events", "detections")


@pytest.fixture
def deployment(services: Settings, tmp_path: Path) -> Settings:
    """With empty topics of its own, and a folder for the state."""
    run = uuid4().hex[:8]
    names = {topic: f"seed-{run}-{topic}" for topic in TOPICS}
    admin = AdminClient({"bootstrap.servers": services.kafka.bootstrap})
    for made in admin.create_topics([NewTopic(name, 2, 1) for name in names.values()]).values():
        made.result(20)
    kafka = services.kafka.model_copy(update=names)
    return services.model_copy(update={"kafka": kafka, "var_dir": tmp_path})


@pytest.fixture
def sender(
    deployment: Settings, db: Database, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PastSender]:
    monkeypatch.setattr(PastSender, "wait", lambda *_: None)  # no streams run here
    with open_lake(deployment) as lake:
        yield PastSender(deployment, db, lake, SeedState(1, END), lambda _: None)


def again(sender: PastSender) -> PastSender:
    """A sender of another process: it has only the file."""
    state = begin_past(sender.settings, sender.db, 1, lambda _: None)
    return PastSender(sender.settings, sender.db, sender.lake, state, lambda _: None)


def sent(settings: Settings) -> Counter[str]:
    """Event id -> how often it is in the topics."""
    topics = (*settings.kafka.order_topics, settings.kafka.detections)
    with closing(open_log(settings, topics)) as log:
        ranges = [Range(*at, first, end) for at, (first, end) in log.bounds().items()]
        values = [v for rows in log.fetch(ranges) for v in rows.column("value").to_pylist()]
    return Counter(event_id_of(value) or "" for value in values)


def test_a_call_that_ended_in_the_middle_is_completed_without_repeats(
    sender: PastSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, room = KafkaTransport.send, 2_000

    async def interrupted(transport: KafkaTransport, *message: Any, **options: Any) -> None:
        nonlocal room
        room -= 1
        if room == 1_000:
            await transport.drain()  # these have arrived; the others may have
        if room == 0:
            raise KeyboardInterrupt
        await queue(transport, *message, **options)

    monkeypatch.setattr(KafkaTransport, "send", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sender.send(1)
    monkeypatch.setattr(KafkaTransport, "send", queue)
    before = sent(sender.settings)
    assert 0 < before.total() < 2_000

    assert again(sender).send(1) > 0
    past = sender.past
    days = [past.day(day) for day in past.days(1)]
    wanted = {event.event_id for day in days for event in day.orders}
    wanted |= {frame["event_id"] for day in days for frame in day.frames()}
    assert sent(sender.settings) == dict.fromkeys(wanted, 1)
    assert again(sender).send(1) == 0


def test_older_days_are_added_and_another_seed_is_refused(sender: PastSender) -> None:
    first = sender.send(1)
    more = again(sender).send(2)
    assert sent(sender.settings).total() == first + more
    assert first > 0 < more
    with pytest.raises(SeedError, match="has the past of seed 1"):
        begin_past(sender.settings, sender.db, 2, lambda _: None)


def test_a_past_ends_before_the_first_data_that_is_there(
    deployment: Settings, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    this_hour = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0)
    notes: list[str] = []
    for first, end in (
        (None, this_hour),
        (this_hour - timedelta(hours=47, minutes=20), this_hour - timedelta(hours=48)),
    ):
        monkeypatch.setattr(db, "fetch", lambda *_, first=first: [{"first": first}])
        assert begin_past(deployment, db, 1, notes.append).end == end
    (note,) = notes
    assert "where the deployment's own data begins" in note
