"""Real Kafka and Postgres: started, used, broken and stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from socket import gethostname
from typing import Any

import psutil
import psycopg
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from pydantic import SecretStr

from conf.settings import Settings
from infra import local
from infra.errors import ServiceError
from infra.local.board import StateDir
from infra.local.kafka import KafkaService
from infra.local.passwords import with_known_secrets
from infra.local.process import is_alive, wait_until
from infra.local.services import services as all_services
from infra.local.state_files import write_state
from infra.postgres import migrate as migrations
from infra.postgres.migrate import migrate
from tests.conftest import free_ports
from tests.support.processes import processes_of

pytestmark = pytest.mark.requirement("O2")


@pytest.fixture(scope="module")
def shop(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A storelake of this module alone, for it kills and deletes; stopped unless a test starts it.

    Its own ports and folder: the services that the whole run shares go on.
    """
    kafka, controller, postgres = free_ports(3)
    own = settings.model_copy(
        update={
            "var_dir": tmp_path_factory.mktemp("shop"),
            "kafka": settings.kafka.model_copy(
                update={"port": kafka, "controller_port": controller}
            ),
            "postgres": settings.postgres.model_copy(update={"port": postgres}),
        }
    )
    yield own
    local.reset(own)


SERVICES = ("kafka", "postgres")


def states(statuses: list[local.ServiceStatus]) -> list[str]:
    return [one.state for one in statuses]


def pids(settings: Settings) -> list[int | None]:
    return [one.pid for one in local.status(settings)]


def produce(settings: Settings, topic: str, value: bytes) -> None:
    refused: list[object] = []
    producer = Producer({"bootstrap.servers": settings.kafka.bootstrap})
    producer.produce(topic, value, on_delivery=lambda error, _: refused.append(error))
    assert producer.flush(20) == 0
    assert refused == [None]


def consume(settings: Settings, topic: str, count: int) -> list[bytes]:
    options = {"group.id": str(uuid.uuid4()), "auto.offset.reset": "earliest"}
    consumer = Consumer({"bootstrap.servers": settings.kafka.bootstrap, **options})
    consumer.subscribe([topic])
    try:
        messages = consumer.consume(count, timeout=20)
    finally:
        consumer.close()
    return [message.value() or b"" for message in messages]


def arrives(settings: Settings, topic: str, value: bytes) -> bool:
    """Whether a message is in a topic, which others write to as well."""
    options = {"group.id": str(uuid.uuid4()), "auto.offset.reset": "earliest"}
    consumer = Consumer({"bootstrap.servers": settings.kafka.bootstrap, **options})
    consumer.subscribe([topic])
    try:
        return wait_until(
            lambda: any(m.value() == value for m in consumer.consume(100, timeout=0.5)), 20
        )
    finally:
        consumer.close()


def query(settings: Settings, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(settings.owner_dsn) as connection:
        return connection.execute(sql).fetchall()


def listeners(settings: Settings) -> set[str]:
    """The addresses that our processes listen on."""
    found = set()
    for pid in pids(settings):
        assert pid is not None
        for connection in psutil.Process(pid).net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN:
                found.add(connection.laddr.ip.removeprefix("::ffff:"))
    return found


def test_one_command_brings_everything_up_and_again_changes_nothing(shop: Settings) -> None:
    assert states(local.up(shop)) == ["running", "running"]
    assert query(with_known_secrets(shop), "SELECT count(*) FROM iceberg_tables") == [(0,)]
    before = pids(shop)
    assert states(local.up(shop)) == ["running", "running"]
    assert pids(shop) == before
    assert states(local.status(shop)) == ["running", "running"]


def test_the_topics_of_the_product_exist_with_their_partitions(services: Settings) -> None:
    admin = AdminClient({"bootstrap.servers": services.kafka.bootstrap})
    topics = admin.list_topics(timeout=10).topics
    found = {name: len(topics[name].partitions) for name in services.kafka.all_topics}
    assert found == dict.fromkeys(services.kafka.all_topics, services.kafka.partitions)


def test_an_event_that_continues_into_kafka_comes_out(services: Settings) -> None:
    topic, value = services.kafka.order_dlq, uuid.uuid4().bytes
    produce(services, topic, value)
    assert arrives(services, topic, value)


def test_postgres_answers_with_the_password_alone(services: Settings) -> None:
    assert query(services, "SELECT current_user, current_database()") == [
        (services.postgres.user, services.postgres.database)
    ]
    wrong = services.postgres.dsn.replace(services.postgres.secret, "guess")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)


def test_nobody_logs_in_as_superuser_and_commits_are_on_disk(services: Settings) -> None:
    boss = services.postgres.dsn.replace(f"user={services.postgres.login}", "user=postgres")
    with pytest.raises(psycopg.OperationalError, match=r"no pg_hba\.conf entry"):
        psycopg.connect(boss)
    assert query(services, "SHOW synchronous_commit") == [("on",)]
    assert query(services, "SHOW fsync") == [("on",)]
    assert query(services, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") == [
        (False,)
    ]


def test_servers_listen_on_loopback_only(services: Settings) -> None:
    assert listeners(services) <= {"127.0.0.1", "::1"}


def test_the_ledger_takes_a_batch_once(services: Settings) -> None:
    with psycopg.connect(services.postgres.dsn) as connection:
        insert = (
            "INSERT INTO stream_batches (query_id, batch_id, rows_in, rows_new) "
            "VALUES ('q', 1, 0, 0)"
        )
        connection.execute(insert)
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute(insert)


def test_migrations_run_once_even_when_two_processes_start_together(
    services: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert migrate(services) == []
    name = f"9001_{uuid.uuid4().hex}"
    (tmp_path / f"{name}.sql").write_text(f'SELECT pg_sleep(0.3); CREATE TABLE "{name}" (a int);')
    monkeypatch.setattr(migrations, "MIGRATIONS", tmp_path)
    with ThreadPoolExecutor(2) as pool:
        applied = list(pool.map(migrate, [services, services]))
    with psycopg.connect(services.owner_dsn) as connection:
        connection.execute(f'DROP TABLE "{name}"')  # fails where no one made it
    assert sorted(applied) == [[], [name]]


def test_a_migration_that_fails_leaves_nothing_half(
    services: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = f"9002_{uuid.uuid4().hex}"
    (tmp_path / f"{name}.sql").write_text(f'CREATE TABLE "{name}" (a int); SELECT 1 / 0;')
    monkeypatch.setattr(migrations, "MIGRATIONS", tmp_path)
    with pytest.raises(ServiceError, match=rf"Migration {name} failed .*division by zero"):
        migrate(services)
    assert query(services, f"SELECT to_regclass('\"{name}\"')") == [(None,)]


def test_services_that_ran_before_a_block_go_on_after_it(shop: Settings) -> None:
    local.up(shop)
    before = pids(shop)
    with local.running(shop) as ready:
        assert query(ready, "SELECT 1") == [(1,)]
    assert pids(shop) == before


def test_a_killed_kafka_comes_back_with_its_events(shop: Settings) -> None:
    local.up(shop)
    produce(shop, shop.kafka.order_events, b"before the crash")
    postgres = pids(shop)[1]
    process = KafkaService(shop).daemon.find()
    assert process is not None
    process.kill()
    assert wait_until(lambda: local.status(shop)[0].state == "stopped", 10)
    assert states(local.up(shop)) == ["running", "running"]
    assert pids(shop)[1] == postgres
    assert consume(shop, shop.kafka.order_events, 1) == [b"before the crash"]


def test_a_killed_postgres_comes_back_with_its_rows(shop: Settings) -> None:
    with local.running(shop) as ready:
        with psycopg.connect(ready.postgres.dsn) as connection:
            connection.execute(
                "INSERT INTO stream_batches (query_id, batch_id, rows_in, rows_new) "
                "VALUES ('k', 7, 0, 0)"
            )
        pid = pids(ready)[1]
        assert pid is not None
        psutil.Process(pid).kill()
        assert wait_until(lambda: local.status(ready)[1].state == "stopped", 10)
        local.up(ready)
        found = query(ready, "SELECT batch_id FROM stream_batches WHERE query_id = 'k'")
    assert found == [(7,)]


def test_a_lost_password_is_replaced_at_the_next_start(shop: Settings) -> None:
    local.up(shop)
    local.down(shop)
    shop.secrets_file.unlink()
    with local.running(shop) as ready:
        assert query(ready, "SELECT 1") == [(1,)]


def test_a_hanging_server_is_replaced(shop: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.local.services.GRACE_SECONDS", 0.5)
    local.up(shop)
    hung = pids(shop)[0]
    assert hung is not None
    psutil.Process(hung).suspend()
    assert local.status(shop)[0].state == "starting"
    monkeypatch.setattr("infra.local.service.STOP_SECONDS", 0.5)
    assert states(local.up(shop)) == ["running", "running"]
    assert pids(shop)[0] != hung


def test_a_service_that_dies_at_start_shows_its_log_and_stops_the_others(shop: Settings) -> None:
    local.down(shop)
    meta = KafkaService(shop).folder / "data" / "meta.properties"
    good = meta.read_text()
    meta.write_text(good.replace("node.id=1", "node.id=2"))
    try:
        with pytest.raises(ServiceError, match=r"kafka ended right after its start(.|\n)*node"):
            local.up(shop)
    finally:
        meta.write_text(good)
    assert states(local.status(shop)) == ["stopped", "stopped"]


def test_a_port_of_somebody_else_is_named_and_nothing_remains_running(shop: Settings) -> None:
    local.down(shop)
    script = (
        "import socket,sys,time; s = socket.create_server(('127.0.0.1', int(sys.argv[1])));"
        "print('taken', flush=True); time.sleep(60)"
    )
    port = str(shop.postgres.port)
    with subprocess.Popen([sys.executable, "-c", script, port], stdout=subprocess.PIPE) as outsider:
        assert outsider.stdout is not None
        outsider.stdout.readline()
        with pytest.raises(ServiceError, match=rf"Port {port} for Postgres .*{outsider.pid}"):
            local.up(shop)
        assert states(local.status(shop)) == ["stopped", "stopped"]
        assert outsider.poll() is None
        outsider.kill()


def storelake(
    environment: Mapping[str, str], shop: Settings, *arguments: str
) -> subprocess.Popen[str]:
    """The command line as a program, on the storelake of this module."""
    own = {
        "STORELAKE_VAR_DIR": str(shop.var_dir),
        "STORELAKE_KAFKA__PORT": str(shop.kafka.port),
        "STORELAKE_KAFKA__CONTROLLER_PORT": str(shop.kafka.controller_port),
        "STORELAKE_POSTGRES__PORT": str(shop.postgres.port),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "cli.main", *arguments],
        cwd=Path(__file__).parents[2],
        env={**environment, **own},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_ctrl_c_during_the_start_leaves_nothing_running(
    environment: Mapping[str, str], shop: Settings
) -> None:
    local.down(shop)
    command = storelake(environment, shop, "up")
    assert wait_until(lambda: KafkaService(shop).daemon.find() is not None, 30)
    command.send_signal(signal.SIGINT)
    _, output = command.communicate(timeout=60)
    assert command.returncode == 130
    assert "Traceback" not in output
    assert all(service.status().state == "stopped" for service in all_services(shop))


def test_what_the_command_line_started_outlives_it_until_down(
    environment: Mapping[str, str], shop: Settings
) -> None:
    command = storelake(environment, shop, "up", "--services-only")
    output, complained = command.communicate(timeout=120)
    assert command.returncode == 0, complained
    assert re.findall(r"^(\w+) +running", output, re.MULTILINE) == [
        "kafka",
        "postgres",
        "supervisor",
    ]
    ran = [psutil.Process(pid) for pid in pids(shop) if pid is not None]
    family = [*ran, *(child for one in ran for child in one.children(recursive=True))]
    assert len(ran) == 2
    command = storelake(environment, shop, "down")
    output, _ = command.communicate(timeout=60)
    assert output == "Stopped kafka and postgres.\n"
    assert not [one for one in family if one.is_running() and one.status() != "zombie"]
    assert processes_of(shop.var_dir) == []


def rows_of(environment: Mapping[str, str], shop: Settings) -> dict[str, dict[str, Any]]:
    out, _ = storelake(environment, shop, "status", "--json").communicate(timeout=60)
    return {row["name"]: row for row in json.loads(out)}


def test_services_that_were_killed_or_hang_are_back_within_30_seconds_with_their_data(
    environment: Mapping[str, str], shop: Settings
) -> None:
    quick = {**environment, "STORELAKE_SUPERVISOR__SILENT_SECONDS": "10"}
    command = storelake(quick, shop, "up", "--services-only")
    _, complained = command.communicate(timeout=120)
    assert command.returncode == 0, complained
    ready = with_known_secrets(shop)
    try:
        produce(ready, ready.kafka.order_events, b"before the fault")
        with psycopg.connect(ready.owner_dsn) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS row")
        board = StateDir(shop.var_dir)
        for fault in ("kill", "suspend"):
            assert wait_until(lambda: all(board.status(n).answered for n in SERVICES), 30)
            before = [psutil.Process(pid) for pid in pids(ready) if pid is not None]
            for one in before:
                getattr(one, fault)()
            assert wait_until(lambda: not any(map(is_alive, before)), 30), fault  # noqa: B023
            assert wait_until(lambda: states(local.status(ready)) == ["running"] * 2, 30), fault
        assert query(ready, "SELECT row FROM kept") == [(7,)]
        assert arrives(ready, ready.kafka.order_events, b"before the fault")
        rows = rows_of(quick, shop)
        assert [rows[name]["restarts"] for name in ("kafka", "postgres")] == [2, 2]
        assert rows["supervisor"]["state"] == "running"
    finally:
        command = storelake(quick, shop, "down")
        output, _ = command.communicate(timeout=60)
    assert output == "Stopped kafka and postgres.\n"
    assert states(local.status(shop)) == ["stopped", "stopped"]


def test_up_ends_with_exit_code_1_and_a_sentence_while_a_stream_has_failed(
    environment: Mapping[str, str], shop: Settings
) -> None:
    """An application of streams that somebody else started: this process, by its state file."""
    who = {"host": gethostname(), "pid": os.getpid(), "at": time.time()}
    failed = {"ready": False, "state": "failed", "detail": "footfall failed 9 times: no disk"}
    file = shop.var_dir / "run" / "streams.json"
    write_state(file, {**who, "streams": {"footfall": failed, "bronze": {"ready": True}}})
    port = {"STORELAKE_STREAMS__METRICS_PORT": "0"}
    try:
        command = storelake({**environment, **port}, shop, "up", "--services-only")
        _, complained = command.communicate(timeout=120)
    finally:
        file.unlink()
        storelake(environment, shop, "down").communicate(timeout=60)
    assert command.returncode == 1
    assert "Not everything is ready (streams is" in " ".join(complained.split())


def test_a_wrong_password_is_one_sentence_with_the_setting(shop: Settings) -> None:
    with local.running(shop) as ready:
        wrong = ready.postgres.model_copy(update={"password": SecretStr("not-this-one")})
        with pytest.raises(ServiceError, match=r"authentication failed.*__PASSWORD\."):
            migrate(ready.model_copy(update={"postgres": wrong}))


def test_a_stopped_storelake_fails_with_one_sentence(
    environment: Mapping[str, str], shop: Settings
) -> None:
    local.down(shop)
    command = storelake(environment, shop, "migrate")
    _, output = command.communicate(timeout=60)
    assert command.returncode == 1
    assert "run `storelake up`" in output
    assert "Traceback" not in output


def test_a_reset_begins_again(shop: Settings) -> None:
    with local.running(shop) as ready:
        produce(ready, ready.kafka.order_events, b"gone soon")
        deleted = local.reset(ready)
        assert {folder.name for folder in deleted} == {"kafka", "postgres"}
        assert states(local.status(ready)) == ["stopped", "stopped"]
        local.up(ready)
        assert query(ready, "SELECT count(*) FROM stream_batches") == [(0,)]
        admin = AdminClient({"bootstrap.servers": ready.kafka.bootstrap})
        assert set(ready.kafka.all_topics) <= set(admin.list_topics(timeout=10).topics)
