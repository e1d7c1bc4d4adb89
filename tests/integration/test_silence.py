"""A database that is silent: a stopped server is found, and a slow statement is left alone."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial

import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from conf.settings import Settings
from infra.local.postgres import PostgresService
from infra.local.process import wait_until
from streaming.lake.iceberg import catalog as iceberg
from streaming.lake.iceberg.catalog import watch_connections
from streaming.sinks import postgres as serving
from streaming.sinks.postgres import Database
from streaming.sources.silence import SilenceWatch
from tests.support.postgres_local import own_postgres

FOUND_SECONDS = 60.0
SLEEP_SQL = "SELECT 1 AS one FROM pg_sleep(%s)"
SLEEPERS_SQL = """
    SELECT FROM pg_stat_activity WHERE query LIKE 'SELECT % pg_sleep(%' AND state = 'active'
    AND pid <> pg_backend_pid()"""


@pytest.fixture(scope="module")
def server(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PostgresService]:
    with own_postgres(settings, tmp_path_factory.mktemp("silent")) as started:
        yield started


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Operations are looked at after a second, not after half a minute."""
    for module in (serving, iceberg):
        monkeypatch.setattr(
            module, "SilenceWatch", partial(SilenceWatch, slow_seconds=1.0, look_seconds=0.5)
        )


def test_the_server_too_finds_within_half_a_minute_that_a_client_is_gone(
    services: Settings,
) -> None:
    """It frees the locks of a transaction only then; its own default is two hours."""
    shown = "SHOW tcp_user_timeout"
    with psycopg.connect(services.postgres.dsn) as connection:
        assert connection.execute(shown).fetchone() == ("30000",)  # milliseconds
    engine = create_engine(services.postgres.sqlalchemy_url)
    with engine.connect() as catalog:
        assert catalog.execute(text(shown)).scalar_one() == "30000"
    engine.dispose()


@contextmanager
def stopped(server: PostgresService) -> Iterator[None]:
    """Every process of the server, by SIGSTOP: its kernel still acknowledges what is sent."""
    main = server.daemon.find()
    assert main is not None
    family = [main, *main.children(recursive=True)]
    try:
        for process in family:
            process.send_signal(signal.SIGSTOP)
        yield
    finally:
        for process in reversed(family):
            process.send_signal(signal.SIGCONT)


def fails_while_stopped(
    server: PostgresService, call: Callable[[], object], error: type[Exception]
) -> None:
    """Stop the server in the middle of a call: that ends with an error while it is stopped."""
    dsn = server.settings.postgres.dsn
    with ThreadPoolExecutor(1) as pool, psycopg.connect(dsn, autocommit=True) as other:
        waiting = pool.submit(call)
        assert wait_until(lambda: bool(other.execute(SLEEPERS_SQL).fetchall()), 10)
        with stopped(server), pytest.raises(error):
            waiting.result(FOUND_SECONDS)


def test_a_statement_that_is_only_slow_continues(server: PostgresService) -> None:
    with closing(Database(server.settings.postgres.dsn, 1)) as database:
        assert database.fetch(SLEEP_SQL, (4,)) == [{"one": 1}]


def test_a_stopped_server_is_found_and_the_next_call_works(server: PostgresService) -> None:
    with closing(Database(server.settings.postgres.dsn, 1)) as database:
        fails_while_stopped(
            server, lambda: database.fetch(SLEEP_SQL, (2,)), psycopg.OperationalError
        )
        assert database.fetch(SLEEP_SQL, (0,)) == [{"one": 1}]


def test_the_connections_of_the_catalog_are_watched_too(server: PostgresService) -> None:
    postgres = server.settings.postgres
    engine = create_engine(postgres.sqlalchemy_url, pool_pre_ping=True)

    def look() -> object:
        with engine.connect() as connection:
            return connection.execute(text("SELECT 1 FROM pg_sleep(2)")).scalar()

    with closing(watch_connections(engine, postgres.dsn)):
        fails_while_stopped(server, look, OperationalError)
        assert look() == 1
    engine.dispose()
