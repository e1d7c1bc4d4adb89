"""Checks before a service starts, its command line and its files; few services start here."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tarfile
import threading
from collections import namedtuple
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from pydantic import SecretStr

from conf.processes import has_ended, started
from conf.settings import Settings, SettingsError
from infra.errors import ServiceError
from infra.local import checks, go, jars, locks, passwords, places
from infra.local.checks import Java
from infra.local.daemon import Daemon
from infra.local.kafka import KafkaService
from infra.local.minio import MinioService
from infra.local.pid_files import PidRecord, write_record
from infra.local.postgres import PostgresService, drop_stale_lock, end_orphans
from infra.local.process import Account, wait_until
from infra.local.program_status import require_free
from infra.local.programs import MANAGED
from infra.local.pulsar import PulsarService, ensure_pulsar_topic
from infra.local.services import reset, status, up
from infra.local.tool import run_tool
from tests.conftest import free_ports
from tests.support.fake_java import fake_java

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]
DEAF = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('deaf', flush=True); time.sleep(60)"
)
needs_ipv6 = pytest.mark.skipif(
    not Path("/proc/net/if_inet6").exists(), reason="this machine has no IPv6"
)
STUBBORN = [sys.executable, "-c", DEAF]


@pytest.fixture
def own(settings: Settings, tmp_path: Path) -> Settings:
    """The settings of the suite with a folder that only this test uses."""
    return settings.model_copy(
        update={"var_dir": tmp_path / "var", "cache_dir": tmp_path / "cache"}
    )


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    return Daemon("sleeper", run_dir=tmp_path / "run", log_dir=tmp_path / "logs")


def test_a_taken_port_is_named_with_its_owner_and_the_setting_that_moves_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServiceError, match=rf"Port {port} for Kafka .*{os.getpid()}.*X__PORT"):
            checks.require_free_port("127.0.0.1", port, "Kafka", "X__PORT")


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
def test_a_free_port_passes(host: str) -> None:
    (port,) = free_ports(1)
    checks.require_free_port(host, port, "the gateway", "X__PORT")


@pytest.mark.parametrize("port", [-1, 65536])
def test_what_is_no_port_is_named_with_the_setting(port: int) -> None:
    with pytest.raises(ServiceError, match=rf"Port {port} for Kafka cannot be used .*X__PORT"):
        checks.require_free_port("127.0.0.1", port, "Kafka", "X__PORT")


@needs_ipv6
def test_every_port_may_be_one_of_ipv6(own: Settings) -> None:
    gateway, console = ({"host": "::1", "port": free_ports(1)[0]} for _ in range(2))
    settings = own.model_copy(
        update={
            "gateway": own.gateway.model_copy(update=gateway),
            "console": own.console.model_copy(update=console),
            "metrics_host": "::1",
        }
    )
    assert settings.gateway.url == f"http://[::1]:{gateway['port']}"
    require_free(settings, MANAGED)
    with (
        socket.create_server(("::1", gateway["port"]), family=socket.AF_INET6),
        pytest.raises(ServiceError, match=f"Port {gateway['port']} .*is taken"),
    ):
        require_free(settings, MANAGED)


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.7", "shop.example"])  # noqa: S104
def test_a_local_server_never_listens_to_other_machines(host: str) -> None:
    with pytest.raises(ServiceError, match="not a loopback address"):
        checks.require_loopback(host, "STORELAKE_KAFKA__HOST")


def test_a_missing_java_is_one_sentence_with_the_next_step(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServiceError, match="No Java was found: install Java 17"):
        checks.find_java(tmp_path)


def test_a_java_that_is_too_old_is_refused_with_its_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    home = fake_java(tmp_path / "old", 'openjdk version "1.8.0_402"')
    with pytest.raises(ServiceError, match=r"Java 17 or newer is needed.*1\.8\.0_402"):
        checks.find_java(home)


def test_the_java_of_java_home_comes_before_the_one_on_the_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(fake_java(tmp_path / "path", 'version "17.0.1"') / "bin"))
    home = fake_java(tmp_path / "home", "OpenJDK Runtime Environment (build 21.0.4+7)")
    assert checks.find_java(home) == Java(str(home / "bin" / "java"), "21.0.4+7")
    assert checks.find_java(None).release == 17


def test_an_old_java_home_does_not_hide_a_good_java_on_the_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(fake_java(tmp_path / "path", 'version "25"') / "bin"))
    assert checks.find_java(fake_java(tmp_path / "home", 'version "11.0.2"')).release == 25


def test_too_little_disk_stops_the_start_before_anything_is_written(
    own: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(9, 9, 1024**3))
    with pytest.raises(ServiceError, match=r"Only 1\.0 GiB are free .*STORELAKE_VAR_DIR"):
        up(own)
    assert not own.secrets_file.exists()


def test_a_process_is_found_again_by_its_pid_file_and_ended(daemon: Daemon, tmp_path: Path) -> None:
    pid = daemon.spawn(SLEEPER, cwd=tmp_path)
    found = daemon.find()
    assert found is not None
    assert found.pid == pid
    assert daemon.stop() == "graceful"
    assert daemon.find() is None
    assert not psutil.pid_exists(pid)


def test_a_recycled_pid_is_neither_taken_for_ours_nor_ended(daemon: Daemon, tmp_path: Path) -> None:
    outsider = subprocess.Popen(SLEEPER)
    try:
        process = psutil.Process(outsider.pid)
        assert wait_until(lambda: process.cmdline() == SLEEPER, 10)  # it has none as it starts
        created = process.create_time()
        daemon.run_dir.mkdir()
        for record in (
            {"pid": outsider.pid, "create_time": created - 3600, "command": SLEEPER},
            {"pid": outsider.pid, "create_time": created, "command": ["java", "kafka.Kafka"]},
        ):
            daemon.pid_file.write_text(json.dumps(record))
            assert daemon.find() is None
            assert daemon.stop() == "absent"
        assert outsider.poll() is None
    finally:
        outsider.kill()
        outsider.wait()


@pytest.mark.parametrize("seconds", [-3600.0, 3600.0])
def test_a_process_is_found_again_after_the_clock_was_set(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    pid = daemon.spawn(SLEEPER, cwd=tmp_path)
    booted = psutil.boot_time() + seconds  # the system counts it back from the present time
    monkeypatch.setattr("psutil._psplatform.boot_time", lambda: booted)
    found = daemon.find()
    assert found is not None
    assert found.pid == pid
    assert not has_ended(pid, started(found))
    assert daemon.stop() == "graceful"
    assert not psutil.pid_exists(pid)


def test_a_session_of_another_boot_is_not_ended_for_its_pid(daemon: Daemon, tmp_path: Path) -> None:
    leaves = [sys.executable, "-c", "import subprocess as s; print(s.Popen(['sleep', '99']).pid)"]
    leader = subprocess.Popen(leaves, stdout=subprocess.PIPE, text=True, start_new_session=True)
    foreign = psutil.Process(int(leader.communicate()[0]))
    try:
        for machine, left in (("another-boot/pid:[1]", False), ("", True)):
            record = PidRecord(leader.pid, 0.0, SLEEPER, machine=machine)
            write_record(daemon.pid_file, record)
            assert [one.pid for one in daemon._left()] == [foreign.pid] * left
    finally:
        foreign.kill()


def test_a_lower_priority_applies_to_the_children_of_a_process() -> None:
    program = (
        "import os, subprocess, sys; from infra.local.process import step_back; step_back(5);"
        "subprocess.run([sys.executable, '-c', 'import os; print(os.nice(0))'], check=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        start_new_session=True,  # the priority is that of the whole session
    )
    assert int(done.stdout) == max(os.nice(0), 5)


def test_a_process_that_ignores_the_polite_request_is_killed(
    daemon: Daemon, tmp_path: Path
) -> None:
    pid = daemon.spawn(STUBBORN, cwd=tmp_path)
    assert wait_until(lambda: "deaf" in daemon.log_file.read_text(), 10)
    assert daemon.stop(signal.SIGTERM, patience_seconds=0.3) == "killed"
    assert not psutil.pid_exists(pid)


def test_a_half_written_pid_file_counts_as_no_process(daemon: Daemon) -> None:
    daemon.run_dir.mkdir()
    daemon.pid_file.write_text('{"pid": 1')
    assert daemon.find() is None
    assert daemon.stop() == "absent"


def test_a_port_belongs_to_the_process_that_listens_on_it(daemon: Daemon, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mine:
        daemon.spawn(SLEEPER, cwd=tmp_path)
        assert not daemon.owns_port(mine.getsockname()[1])
        daemon.stop()


def test_kafka_is_started_small_on_loopback_with_its_own_files(own: Settings) -> None:
    service = KafkaService(own)
    service.folder.mkdir(parents=True)
    service.configure()
    command = service.command(Java("java", "17.0.1"), own.cache_dir)
    assert {f"-Xmx{own.kafka.heap_mb}m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"} <= set(
        command
    )
    assert command[-2:] == ["kafka.Kafka", str(own.var_dir / "kafka" / "server.properties")]
    lines = (service.folder / "server.properties").read_text().splitlines()
    assert f"listeners=CLIENT://127.0.0.1:{own.kafka.port}," in "\n".join(lines)
    assert "auto.create.topics.enable=false" in lines


def test_kafka_notes_its_classes_once_and_uses_them_afterwards(own: Settings) -> None:
    service, java, cache = KafkaService(own), Java("java", "17.0.1"), own.cache_dir
    assert any(
        part.startswith("-XX:ArchiveClassesAtExit=") for part in service.command(java, cache)
    )
    cache.mkdir()
    (cache / "classes-17.0.1.jsa").touch()
    assert f"-XX:SharedArchiveFile={cache}/classes-17.0.1.jsa" in service.command(java, cache)


def test_pulsar_is_started_small_on_loopback_with_its_own_files(own: Settings) -> None:
    more = own.pulsar.model_copy(update={"broker_options": {"numIOThreads": "1"}})
    service = PulsarService(own.model_copy(update={"pulsar": more}))
    service.folder.mkdir(parents=True)
    service.configure()
    command = service.command(Java("java", "25.0.1"), own.cache_dir)
    assert {f"-Xmx{own.pulsar.heap_mb}m", "--sun-misc-unsafe-memory-access=allow"} <= {*command}
    assert "--sun-misc-unsafe-memory-access=allow" not in service.command(
        Java("java", "17.0.1"), own.cache_dir
    )
    lines = (service.folder / "standalone.conf").read_text().splitlines()
    assert {"bindAddress=127.0.0.1", "listeningInterface=lo", "numIOThreads=1"} <= {*lines}


@pytest.mark.parametrize(
    "desired",
    [
        {"pulsar": {"enabled": True}},
        {"streams": {"detections_from": ("pulsar",)}},
        {"inference": {"publisher": "pulsar"}},
    ],
)
def test_pulsar_is_a_service_of_the_sandbox_where_a_setting_needs_it(
    own: Settings, desired: dict[str, dict[str, object]]
) -> None:
    changed = {
        name: getattr(own, name).model_copy(update=update) for name, update in desired.items()
    }
    with_pulsar = own.model_copy(update=changed)
    assert [one.name for one in status(own)] == ["kafka", "postgres"]
    assert [one.name for one in status(with_pulsar)] == ["kafka", "postgres", "pulsar"]


@pytest.fixture
def on_s3(own: Settings) -> Settings:
    """The same with a warehouse on an S3 of our own."""
    catalog = own.catalog.model_copy(update={"warehouse": "s3://shop/lake"})
    return own.model_copy(update={"catalog": catalog})


def test_minio_is_a_service_of_the_sandbox_where_the_warehouse_is_on_s3(on_s3: Settings) -> None:
    assert [one.name for one in status(on_s3)] == ["kafka", "postgres", "minio"]


def test_minio_is_started_on_loopback_and_no_command_line_shows_its_keys(on_s3: Settings) -> None:
    service = MinioService(passwords.with_secrets(on_s3))
    command, environment = service.command(Path("minio")), service.environment()
    assert command[-2:] == [f"127.0.0.1:{on_s3.s3.port}", str(on_s3.var_dir / "minio" / "data")]
    assert environment["MINIO_ROOT_PASSWORD"] == service.conf.secret
    assert not {service.conf.access, service.conf.secret} & {*command}
    assert "PATH" not in environment


def test_the_keys_of_minio_are_made_once_and_beside_the_password(on_s3: Settings) -> None:
    first = passwords.with_secrets(on_s3)
    again = passwords.with_secrets(on_s3)
    assert (again.s3, again.postgres) == (first.s3, first.postgres)
    assert first.s3.secret not in repr(first)
    names = [line.split("=")[0] for line in on_s3.secrets_file.read_text().splitlines()]
    assert len({*names}) == len(names)
    assert {"STORELAKE_S3__ACCESS_KEY", "STORELAKE_POSTGRES__WRITER_PASSWORD"} <= {*names}


def test_an_external_s3_gets_no_generated_keys(on_s3: Settings) -> None:
    theirs = on_s3.s3.model_copy(update={"endpoint": "https://s3.example"})
    found = passwords.with_secrets(on_s3.model_copy(update={"s3": theirs}))
    assert found.s3.access_key is None
    with pytest.raises(SettingsError, match=r"STORELAKE_S3__SECRET_KEY is not set"):
        found.s3.secret  # noqa: B018 - asking is the point


FAKE_GO = """\
#!/bin/sh
if [ "$1" = version ]; then echo go version go{version} linux/amd64; exit; fi
echo go: downloading github.com/minio/minio
mkdir -p "$GOPATH" && echo "$*" >> "$GOPATH/asked"
{then}
"""


def fake_go(
    monkeypatch: pytest.MonkeyPatch, folder: Path, version: str = "1.26.8", then: str = ""
) -> None:
    """A Go on the PATH that prints its version, and builds with the command of a test."""
    program = folder / "bin" / "go"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(FAKE_GO.format(version=version, then=then))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.defpath}")


def build_minio(settings: Settings) -> Path:
    settings.cache_dir.mkdir(exist_ok=True)
    return go.build_minio(settings.cache_dir, threading.Event(), lambda _: None)


def test_minio_is_built_once_and_the_files_of_the_build_are_removed(
    own: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_go(monkeypatch, tmp_path, then='echo "$*" > "$GOBIN/minio"')
    program = build_minio(own)
    assert f"{go.MODULE}@{go.VERSION}" in program.read_text()
    fake_go(monkeypatch, tmp_path, then="exit 1")
    assert build_minio(own) == program
    assert {one.name for one in own.cache_dir.iterdir()} == {program.name, "minio.lock"}


def test_a_build_that_fails_is_one_sentence_and_keeps_its_downloads(
    own: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_go(monkeypatch, tmp_path, then="echo no route; exit 1")
    with pytest.raises(ServiceError, match=r"Building MinIO failed .*no route.*S3__ENDPOINT"):
        build_minio(own)
    assert (own.cache_dir / "go-minio" / "path" / "asked").exists()


def test_without_a_go_that_is_new_enough_the_message_has_the_next_step(
    own: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_go(monkeypatch, tmp_path, version="1.19.8")
    with pytest.raises(ServiceError, match=r"MinIO needs Go 1\.21 or newer; .*go1\.19\.8"):
        build_minio(own)
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(ServiceError, match=r"no Go was found: install .*STORELAKE_S3__ENDPOINT"):
        build_minio(own)


def test_the_jars_of_pulsar_are_taken_out_of_its_distribution(tmp_path: Path) -> None:
    top = tmp_path / "apache-pulsar"
    for name in ("lib/broker.jar", "lib/LICENSE", "instances/deps/other.jar"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(name)
    folder = tmp_path / "jars"
    folder.mkdir()
    archive = folder / f"pulsar-server-distribution-{jars.PULSAR_VERSION}-bin.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(top, arcname="apache-pulsar")
    jars.PULSAR.unpack(folder)
    assert [file.name for file in folder.iterdir()] == ["broker.jar"]
    assert (folder / "broker.jar").read_text() == "lib/broker.jar"


def test_postgres_is_started_without_a_socket_and_with_honest_commits(own: Settings) -> None:
    command = PostgresService(own).command(Path("bin"), Path("data"))
    assert "unix_socket_directories=" in command
    assert "listen_addresses=127.0.0.1" in command
    assert not [part for part in command if "fsync" in part or "synchronous_commit" in part]


def test_the_password_is_made_once_and_only_its_owner_can_read_it(own: Settings) -> None:
    first = passwords.with_secrets(own)
    assert stat.S_IMODE(own.secrets_file.stat().st_mode) == 0o600
    assert len(first.postgres.secret) >= 32
    assert passwords.with_secrets(own).postgres.secret == first.postgres.secret
    assert first.postgres.secret not in repr(first)


def test_a_password_that_is_set_and_other_secrets_are_kept(own: Settings) -> None:
    own.var_dir.mkdir()
    own.secrets_file.write_text("STORELAKE_OTHER=kept")
    made = passwords.with_secrets(own)
    assert own.secrets_file.read_text().splitlines()[0] == "STORELAKE_OTHER=kept"
    before = own.secrets_file.read_text()
    assert passwords.with_secrets(made) is made
    assert own.secrets_file.read_text() == before


def test_nothing_runs_before_the_first_start(own: Settings) -> None:
    assert [one.state for one in status(own)] == ["stopped", "stopped"]
    assert not own.secrets_file.exists()


def test_servers_outside_of_the_deployment_are_called_external(own: Settings) -> None:
    [port] = free_ports(1)
    kafka = own.kafka.model_copy(update={"bootstrap_servers": f"127.0.0.1:{port}"})
    postgres = own.postgres.model_copy(update={"local": False})
    theirs = own.model_copy(update={"kafka": kafka, "postgres": postgres})
    found = status(theirs)
    assert [one.state for one in found] == ["external", "external"]
    assert found[0].detail == "does not answer"
    assert "STORELAKE_POSTGRES__WRITER_PASSWORD" in found[1].detail


def test_the_folder_of_postgres_is_not_guessed_where_nobody_can_read_it(own: Settings) -> None:
    home = own.var_dir / "postgres"
    home.mkdir(parents=True)
    for content in ("", "relative/place", "\0\0"):
        (home / "location").write_text(content)
        with pytest.raises(ServiceError, match=r"location cannot be read \(it names no folder\)"):
            places.Places(home, Account()).root()


def test_backends_that_outlive_their_server_are_ended_before_it_starts_again(
    tmp_path: Path,
) -> None:
    program = tmp_path / "postgres"
    program.symlink_to(sys.executable)
    data, other = tmp_path / "data", tmp_path / "other"
    sleep = [str(program), "-IS", "-c", "import time; time.sleep(60)"]
    for folder in (data, other):
        folder.mkdir()
    orphan, outsider = (subprocess.Popen(sleep, cwd=folder) for folder in (data, other))
    try:
        assert wait_until(lambda: psutil.Process(orphan.pid).name() == "postgres", 10)
        end_orphans(data)
        assert orphan.wait(10) == -signal.SIGKILL
        assert outsider.poll() is None
    finally:
        for one in (orphan, outsider):
            one.kill()
            one.wait()


def test_a_server_that_rejects_a_login_answers_and_a_missing_one_does_not(
    own: Settings,
) -> None:
    class Refusing(PostgresService):
        name = "postgres"

        def complaint(self) -> str:
            return 'connection failed: FATAL:  password authentication failed for user "storelake"'

    assert not Refusing(own).silent()
    [port] = free_ports(1)
    postgres = own.postgres.model_copy(update={"port": port, "password": SecretStr("x")})
    assert PostgresService(own.model_copy(update={"postgres": postgres})).silent()


def test_a_reset_of_the_services_deletes_their_data_and_keeps_the_rest(own: Settings) -> None:
    for name in ("kafka", "warehouse", "checkpoints", "logs"):
        (own.var_dir / name).mkdir(parents=True)
    passwords.with_secrets(own)
    assert {folder.name for folder in reset(own)} == {"kafka", "warehouse", "checkpoints"}
    assert own.secrets_file.exists()
    assert (own.var_dir / "logs").exists()


def test_a_lock_file_of_a_dead_postgres_whose_pid_was_recycled_is_removed(tmp_path: Path) -> None:
    lock = tmp_path / "postmaster.pid"
    lock.write_text(f"{os.getpid()}\n{tmp_path}\n")
    drop_stale_lock(tmp_path)
    assert not lock.exists()


def test_a_lock_file_of_a_killed_postgres_that_nobody_has_collected_is_removed(
    tmp_path: Path,
) -> None:
    program = tmp_path / "postgres"
    program.symlink_to(sys.executable)
    server = subprocess.Popen([str(program), "-IS", "-c", "import time; time.sleep(60)"])
    try:
        process = psutil.Process(server.pid)
        assert wait_until(lambda: process.name() == "postgres", 10)
        lock = tmp_path / "postmaster.pid"
        lock.write_text(f"{server.pid}\n{tmp_path}\n")
        drop_stale_lock(tmp_path)
        assert lock.exists()

        process.kill()
        assert wait_until(lambda: process.status() == psutil.STATUS_ZOMBIE, 10)
        drop_stale_lock(tmp_path)
        assert not lock.exists()
    finally:
        server.kill()
        server.wait()


def test_data_that_the_server_cannot_reach_is_put_into_a_folder_that_is_remembered(
    own: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reachable = tmp_path / "reachable"
    reachable.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(reachable))
    monkeypatch.setattr(places, "can_enter", lambda folder: folder == reachable)
    place = places.Places(own.var_dir / "postgres", Account(os.getuid(), os.getgid()))
    root = place.root()
    assert reachable in root.parents
    assert place.root() == root
    place.delete_outside()
    assert not root.exists()
    with pytest.raises(ServiceError, match=r"has gone .*storelake reset"):
        place.root()


def test_a_folder_of_somebody_else_is_not_deleted_whatever_the_location_file_names(
    own: Settings, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    home = own.var_dir / "postgres"
    home.mkdir(parents=True)
    (home / "location").write_text(str(precious))
    reset(own)
    assert precious.is_dir()


def test_two_commands_do_not_start_services_at_once(tmp_path: Path) -> None:
    with (
        locks.exclusive(tmp_path / "lock", "the services", 1),
        pytest.raises(ServiceError, match="Another storelake command is busy"),
        locks.exclusive(tmp_path / "lock", "the services", 0.2),
    ):
        pass


def test_a_tool_that_fails_shows_its_last_lines() -> None:
    with pytest.raises(ServiceError, match=r"Mending failed with exit code 3: .*no glue"):
        run_tool(["sh", "-c", "echo no glue; exit 3"], "Mending", threading.Event())


def test_a_tool_ends_when_the_user_interrupts() -> None:
    cancel = threading.Event()
    threading.Timer(0.2, cancel.set).start()
    with pytest.raises(ServiceError, match="was interrupted"):
        run_tool(SLEEPER, "Sleeping", cancel)


def test_a_namespace_keeps_messages_also_where_the_up_that_made_it_was_broken_off(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: dict[str, Any] = {}
    broken_off = [httpx.ReadTimeout("the broker is busy")]

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if request.method == "PUT" and path in made:
            return httpx.Response(409)
        if "/namespaces/retail/metadata" in made and broken_off:
            raise broken_off.pop()
        made[path] = json.loads(request.content or b"null")
        return httpx.Response(200, json=["standalone"])

    def administration(*_: object) -> httpx.Client:
        return httpx.Client(base_url="http://pulsar", transport=httpx.MockTransport(answer))

    monkeypatch.setattr("infra.local.pulsar._administration", administration)
    with pytest.raises(ServiceError, match="busy"):
        ensure_pulsar_topic(settings.pulsar)
    assert ensure_pulsar_topic(settings.pulsar)
    namespace = made["/namespaces/retail/metadata"]
    assert namespace.get("retention_policies") or made.get("/namespaces/retail/metadata/retention")
