"""One writer a stream: who holds it, who is refused, and what a writer that was replaced can do."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import psycopg
import pyarrow as pa
import pytest

from conf.settings import Settings
from infra.local.process import wait_until
from streaming.runtime.lease import Epochs, FencedError, LeaseError, LeaseHeldError, Leases
from streaming.sinks.postgres import Database

SECONDS = 2.0
NAMES = ("order_event_processor", "footfall")
HOLDER = """
import sys, time
from datetime import timedelta
from streaming.runtime.lease import Leases
Leases(sys.argv[1], ["footfall"], "the first", timedelta(seconds=15)).acquire()
print("held", flush=True)
time.sleep(600)
"""

Make = Callable[..., Leases]


@pytest.fixture
def make(services: Settings) -> Iterator[Make]:
    """Leases of an application, released at the end of the test."""
    with psycopg.connect(services.owner_dsn, autocommit=True) as connection:
        connection.execute("TRUNCATE stream_leases, stream_offsets, stream_batches")
    made: list[Leases] = []

    def leases(
        *streams: str, application: str = "an application", take_over: bool = False
    ) -> Leases:
        one = Leases(
            services.postgres.dsn,
            streams or NAMES,
            application,
            timedelta(seconds=SECONDS),
            take_over=take_over,
        )
        made.append(one)
        return one

    yield leases
    for one in made:
        one.release()


def test_a_living_holder_is_named_and_the_second_application_refused(make: Make) -> None:
    make(application="the first").acquire()
    started = time.monotonic()
    with pytest.raises(
        LeaseHeldError,
        match=r"^The streams footfall and order_event_processor are held by the first "
        r"\(process \d+ on .+\) since 20\d\d-.+ UTC: stop it \(`storelake stop streams`\), or take "
        r"over with `storelake run --take-over`",
    ):
        make().acquire()
    assert time.monotonic() - started < SECONDS


def test_some_streams_are_not_taken_where_others_are_held(make: Make) -> None:
    make("footfall").acquire()
    with pytest.raises(LeaseHeldError, match="The stream footfall is held"):
        make().acquire()
    make("order_event_processor").acquire()


def test_a_holder_renews_for_as_long_as_it_lives(make: Make) -> None:
    make().acquire()
    time.sleep(SECONDS * 1.5)  # the time itself is what is tested
    with pytest.raises(LeaseHeldError):
        make().acquire()


def test_a_lease_that_was_released_is_free_at_once(make: Make) -> None:
    first = make()
    first.acquire()
    first.release()
    second = make()
    second.acquire()
    assert second.epoch("footfall") == first.epoch("footfall") + 1


def test_the_lease_of_a_killed_process_of_this_machine_is_free_at_once(
    make: Make, services: Settings
) -> None:
    command = [sys.executable, "-c", HOLDER, services.postgres.dsn]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        holder.kill()  # a zombie until the end of the block
        started = time.monotonic()
        make("footfall").acquire()
        assert time.monotonic() - started < SECONDS


def test_the_lease_of_a_dead_process_of_another_machine_is_free_when_it_expires(
    make: Make, services: Settings
) -> None:
    with psycopg.connect(services.postgres.dsn, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO stream_leases VALUES ('footfall', 3, gen_random_uuid(), 'elsewhere', "
            "'another boot', 1, 0, now(), now() + interval '2 seconds')"
        )
    taker = make("footfall")
    taker.acquire()
    assert taker.epoch("footfall") == 4


def test_a_writer_that_was_taken_over_commits_nothing_and_reports_who_took_it(
    make: Make, services: Settings
) -> None:
    rows = pa.table(
        {
            "topic": ["t"],
            "partition": pa.array([0], pa.int32()),
            "position": ["00000000000000000001"],
        }
    )
    first = make(application="the first")
    first.acquire()
    database = Database(services.postgres.dsn, 2, first)
    try:
        second = make("footfall", application="the second", take_over=True)
        second.acquire()
        with pytest.raises(FencedError, match=r"^footfall was taken over by the second .* at 20"):
            database.commit_rows("footfall", rows, lambda *_: None)
        assert database.commit_rows("order_event_processor", rows, lambda *_: None) == 1
        assert database.fetch("SELECT stream FROM stream_offsets") == [
            {"stream": "order_event_processor"}
        ]
        # Tasks have epochs, and renew no lease.
        database.fence = Epochs({"footfall": first.epoch("footfall")})
        with pytest.raises(FencedError, match=r"^footfall was taken over by the second"):
            database.commit_rows("footfall", rows, lambda *_: None)
        assert wait_until(lambda: "footfall" in first.lost, SECONDS * 2)
        assert "order_event_processor" not in first.lost
    finally:
        database.close()


def test_a_database_that_is_away_or_empty_is_one_sentence(services: Settings) -> None:
    away = services.postgres.model_copy(update={"port": 1})
    short = timedelta(seconds=SECONDS)
    with pytest.raises(LeaseError, match=r"Postgres does not answer .*STORELAKE_POSTGRES__HOST"):
        Leases(away.dsn, NAMES, "an application", short).acquire()
    empty = services.postgres.model_copy(update={"database": "postgres"})
    with pytest.raises(LeaseError, match="run `storelake migrate`"):
        Leases(empty.dsn, NAMES, "an application", short).acquire()
