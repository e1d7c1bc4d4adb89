"""A check of a house that does not run ends with one sentence that names the missing command."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from socket import gethostname

import psutil
import pytest

from conf.errors import StorelakeError
from conf.settings import Settings, load_settings
from infra import local
from infra.local.passwords import with_secrets
from infra.local.readiness import stream_states, streams_ready
from quality.smoke_test import CheckError, require_running
from tests.conftest import free_ports
from verification.deployment import fresh_house


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    kafka, controller, postgres, gateway = free_ports(4)
    return load_settings(
        var_dir=tmp_path,
        kafka={"port": kafka, "controller_port": controller},
        postgres={"port": postgres, "password": "not a placeholder"},
        gateway={"port": gateway},
    )


@pytest.fixture
def elsewhere(settings: Settings) -> Settings:
    """Services that somebody else runs, so that only streams and gateway are ours."""
    update = {
        "kafka": settings.kafka.model_copy(update={"bootstrap_servers": "kafka.example:9092"}),
        "postgres": settings.postgres.model_copy(update={"local": False}),
    }
    return settings.model_copy(update=update)


def say(
    settings: Settings, pid: int, *names: str, ready: bool = True, host: str | None = None
) -> None:
    """Write what an application says of its streams."""
    file = settings.var_dir / "run" / "streams.json"
    file.parent.mkdir(exist_ok=True)
    streams = {name: {"ready": ready} for name in names}
    who = {"host": host or gethostname(), "pid": pid, "at": time.time()}
    file.write_text(json.dumps({**who, "streams": streams}), encoding="utf-8")


def test_without_services_it_names_up(settings: Settings) -> None:
    with pytest.raises(CheckError, match="kafka does not run: start it with `storelake up`"):
        require_running(settings)


def test_without_streams_it_names_them_and_run(elsewhere: Settings) -> None:
    say(elsewhere, os.getpid(), "footfall", "order_event_processor")

    with pytest.raises(CheckError, match=r"bronze_order_events, real_time_metrics.*storelake run"):
        require_running(elsewhere)


def test_without_a_gateway_it_names_gateway(elsewhere: Settings) -> None:
    say(
        elsewhere,
        os.getpid(),
        "bronze_order_events",
        "order_event_processor",
        "real_time_metrics",
    )

    with pytest.raises(CheckError, match=r"gateway is not ready at http.*storelake gateway"):
        require_running(elsewhere)


def test_what_a_killed_application_said_does_not_count(elsewhere: Settings) -> None:
    say(elsewhere, os.getpid(), "footfall")
    assert streams_ready(elsewhere)

    nobody = 2**22 + 1  # above the largest pid that Linux gives
    say(elsewhere, nobody, "footfall")
    assert stream_states(elsewhere) == {}
    assert not streams_ready(elsewhere)


def test_an_application_whose_pid_was_given_to_a_later_process_does_not_run(
    elsewhere: Settings,
) -> None:
    say(elsewhere, os.getpid(), "footfall")
    file = elsewhere.var_dir / "run" / "streams.json"
    assert streams_ready(elsewhere)
    said = json.loads(file.read_text())
    file.write_text(json.dumps({**said, "at": psutil.Process().create_time() - 3600}))
    assert stream_states(elsewhere) == {}


def test_a_pid_of_another_machine_is_none_of_ours(elsewhere: Settings) -> None:
    say(elsewhere, 2**22 + 1, "footfall", host="streams")
    assert streams_ready(elsewhere)


def test_streams_are_ready_when_all_of_them_are(elsewhere: Settings) -> None:
    assert not streams_ready(elsewhere)
    say(elsewhere, os.getpid(), "footfall", ready=False)
    assert not streams_ready(elsewhere)


def test_a_proof_on_the_services_of_somebody_else_is_refused(settings: Settings) -> None:
    pulsar = settings.pulsar.model_copy(update={"service_url": "pulsar://pulsar.example:6650"})
    elsewhere = settings.model_copy(update={"pulsar": pulsar})
    with (
        pytest.raises(StorelakeError, match=r"verify-cameras .* unset STORELAKE_PULSAR__SERVICE"),
        fresh_house(elsewhere, "verify-cameras", lambda _: None, pulsar=True),
    ):
        raise AssertionError("the house came up")


@pytest.mark.parametrize(
    ("branch", "changes", "named"),
    [
        ("s3", {"endpoint": "https://s3.example"}, "STORELAKE_S3__ENDPOINT"),
        ("catalog", {"warehouse": "file:///data/lake"}, "STORELAKE_CATALOG__WAREHOUSE"),
        ("catalog", {"type": "rest", "uri": "https://catalog.example"}, "STORELAKE_CATALOG__URI"),
    ],
)
def test_a_proof_on_the_lake_of_somebody_else_is_refused(
    settings: Settings, branch: str, changes: dict[str, str], named: str
) -> None:
    changed = getattr(settings, branch).model_copy(update=changes)
    with (
        pytest.raises(StorelakeError, match=rf"unset {named} for it"),
        fresh_house(settings.model_copy(update={branch: changed}), "verify-orders", print),
    ):
        raise AssertionError("the house came up")


def test_a_proof_may_put_its_lake_on_a_minio_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "running", lambda own, _: nullcontext(with_secrets(own)))
    monkeypatch.setenv("STORELAKE_PROFILE", "full")
    base = load_settings(var_dir=tmp_path)
    with fresh_house(base, "verify-orders", print) as house:
        assert house.settings.wants_minio
        assert house.settings.s3.port != base.s3.port
        assert house.environment["STORELAKE_S3__PORT"] == str(house.settings.s3.port)


def test_a_house_that_was_kept_leaves_no_password_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands beside us find theirs in the file, so it must be there, and be the right one."""

    @contextmanager
    def running(settings: Settings, *_: object) -> Iterator[Settings]:
        yield with_secrets(settings)

    monkeypatch.setattr(local, "running", running)
    for _ in range(2):
        with fresh_house(load_settings(var_dir=tmp_path), "verify-orders", print) as house:
            beside = load_settings(var_dir=house.settings.var_dir)
            assert beside.postgres.password == house.settings.postgres.password is not None
            house.keep = True
