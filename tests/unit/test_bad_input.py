"""A fault of the machine is one sentence with the next step, before anything has started."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from cli.gateway import gateway
from cli.run import run
from conf.settings import Settings, SettingsError
from infra.errors import ServiceError
from infra.local import jars
from tests.conftest import free_ports
from tests.support.fake_java import fake_java
from tests.unit.test_programs import LISTENER

pytestmark = pytest.mark.requirement("D1")
ROOT = Path(__file__).parents[2]


def test_streams_without_any_java_fail_before_spark_starts(
    environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STORELAKE_VAR_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ServiceError, match=r"No Java was found: install Java 17.*JAVA_HOME"):
        run()


def test_streams_on_an_old_java_name_its_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STORELAKE_VAR_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path / "old", 'version "11.0.2"')))
    with pytest.raises(ServiceError, match=r"Java 17 or newer is needed.*11\.0\.2"):
        run()


SESSION = """\
import sys
from conf.errors import StorelakeError
from conf.settings import load_settings
from streaming.runtime.session import build_session
try:
    build_session(load_settings(), "trial")
except StorelakeError as error:
    print(error)
"""


def test_a_failed_start_of_spark_is_one_sentence(
    environment: Mapping[str, str], tmp_path: Path
) -> None:
    """Without a network, its launcher gets no jars, and Java ends before Spark has begun."""
    home = tmp_path / "java"
    program = home / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho 'unresolved dependency' >&2\nexit 1\n")
    program.chmod(0o755)
    own = {"JAVA_HOME": str(home), "STORELAKE_POSTGRES__WRITER_PASSWORD": "s3cret-db"}
    done = subprocess.run(
        [sys.executable, "-c", SESSION],
        cwd=ROOT,
        env={**environment, **own, "STORELAKE_VAR_DIR": str(tmp_path / "var")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "unresolved dependency" in done.stderr
    assert done.stdout.startswith("Spark did not start; its reason is above. It needs Java 17")
    assert "a network" in done.stdout


def test_without_a_network_the_first_download_names_what_to_check_and_leaves_no_file(
    settings: Settings, tmp_path: Path
) -> None:
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho 'Server access error: no route to host'\nexit 1\n")
    java.chmod(0o755)
    cache = tmp_path / "cache"
    cache.mkdir()
    with pytest.raises(
        ServiceError, match=r"no route to host Check the network, then run `storelake up` again\."
    ):
        jars.fetch_jars(jars.KAFKA, cache, str(java), threading.Event(), lambda _: None)
    assert [one.name for one in cache.iterdir() if one.suffix != ".lock"] == []


def test_a_gateway_whose_port_is_taken_names_the_process_that_has_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    monkeypatch.setenv("STORELAKE_VAR_DIR", str(tmp_path))
    monkeypatch.setenv("STORELAKE_GATEWAY__PORT", str(port))
    with subprocess.Popen(
        [sys.executable, "-IS", "-c", LISTENER, str(port)], stdout=subprocess.PIPE
    ) as outsider:
        assert outsider.stdout is not None
        outsider.stdout.readline()
        with pytest.raises(
            ServiceError, match=rf"Port {port} for the gateway is taken by process {outsider.pid} "
        ):
            gateway()
        outsider.kill()


def test_a_gateway_does_not_serve_its_operations_to_everybody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (port,) = free_ports(1)
    monkeypatch.setenv("STORELAKE_GATEWAY__OPERATIONS_PORT", str(port))
    with pytest.raises(SettingsError, match=f"Port {port} is that of the gateway and of its oper"):
        gateway(port=port)


def test_a_broken_dot_env_stops_every_command_with_its_line(
    environment: Mapping[str, str], tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("STORELAKE_LOG_LEVEL=INFO\nSTORELAKE KAFKA\n")
    path = os.pathsep.join((str(ROOT), environment.get("PYTHONPATH", "")))
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "status"],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(".env, line 2 is not NAME=VALUE: mend it")
    assert len(done.stderr.splitlines()) == 1
