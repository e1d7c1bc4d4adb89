"""Everything that docker-compose.yml, its Dockerfile and its files name is in the code.

No engine runs here: docs/COMPOSE.md describes what nobody has tried.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from socket import gethostname
from typing import Any

import pyspark
import pytest
import yaml

from conf.settings import CONF_DIR, GatewaySettings, Settings, load_settings
from gateway.app import create_app
from gateway.producer import MemoryPublisher
from infra.local.jars import KAFKA_VERSION, PULSAR_VERSION, TRINO_VERSION
from infra.local.process import wait_until
from infra.local.trino import TrinoService
from tests.conftest import free_ports
from tests.support.command_line import parse
from tests.support.gateway_keys import MemoryKeys
from tools.docs.files import ROOT
from tools.docs.settings_page import settings_page

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytestmark = pytest.mark.requirement("D1")

COMPOSE = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE)["services"]
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
DOCKERFILE = ROOT / "infra" / "docker" / "Dockerfile"
HEALTHY = ROOT / "infra" / "docker" / "healthy.py"
ONCE = {name for name, one in SERVICES.items() if one["restart"].startswith("on-failure")}
OURS = {
    name: one
    for name, one in SERVICES.items()
    if one["image"].split(":")[0].endswith(("/app", "/spark", "-gpu"))
}
WANTED = {
    *("kafka", "kafka-ui", "pulsar", "minio", "iceberg-rest", "postgres", "pgadmin"),
    *("spark-master", "spark-worker", "gateway", "inference", "inference-gpu", "trino"),
    *("prometheus", "alertmanager", "grafana", "jupyter"),
    *("console", "streams", "quality", "maintenance"),
}
SECRET = "a-secret-of-a-test"


def fill(text: str, given: Mapping[str, str]) -> str:
    """Compose's interpolation, as far as our file uses it."""

    def value(match: re.Match[str]) -> str:
        name, default = match["name"], match["default"]
        if default is None:
            return given[name]
        return given.get(name) or default

    return re.sub(r"\$\{(?P<name>\w+)(?::(?:\?[^}]*|-(?P<default>[^}]*)))?\}", value, text)


def example() -> dict[str, str]:
    """The variables of .env.example, with something in the place of each secret."""
    found = re.findall(r"^(\w+)=(.*)$", EXAMPLE, re.MULTILINE)
    return {name: value or f"{SECRET}-{name}" for name, value in found}


def secrets() -> set[str]:
    return set(re.findall(r"^(\w+)=$", EXAMPLE, re.MULTILINE))


def variables(name: str) -> dict[str, str]:
    """Environment variables of a service."""
    service, found = SERVICES[name], {}
    for file in service.get("env_file", []):
        text = (ROOT / fill(file, example())).read_text(encoding="utf-8")
        found.update(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))
    own = service.get("environment") or {}
    return found | {key: fill(value, example()) for key, value in own.items()}


def ports(name: str) -> dict[int, int | None]:
    """Port of the container -> port of the host, or None."""
    service = SERVICES[name]
    inside: dict[int, int | None] = {int(port): None for port in service.get("expose", [])}
    for text in service.get("ports", []):
        outer, inner = text.rsplit(":", 2)[1:]
        inside[int(inner)] = int(outer)
    return inside


def stages() -> dict[str, list[str]]:
    """Name of a stage -> its instructions, the FROM first; continued lines are joined."""
    text = re.sub(r"\\\n\s*", "", DOCKERFILE.read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    found: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith("FROM "):
            current = found.setdefault(line.split(" AS ")[1], [])
        current.append(line)
    return found


def user_of_stage(name: str) -> str | None:
    """User of a stage, its own or that of the stage below it."""
    lines = stages()[name]
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    base = lines[0].split()[1]
    return users[-1] if users else user_of_stage(base) if base in stages() else None


@pytest.fixture
def compose_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A function: the settings as a service of a name would read them."""

    def read(name: str) -> Settings:
        for key in [k for k in os.environ if k.startswith("STORELAKE_")]:
            monkeypatch.delenv(key)
        monkeypatch.setenv("STORELAKE_PROFILE", "compose")
        for key, value in variables(name).items():
            monkeypatch.setenv(key, value)
        monkeypatch.chdir(tmp_path)
        return load_settings()

    return read


def test_every_service_of_the_product_is_there() -> None:
    assert set(SERVICES) >= WANTED


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_bounded_watched_and_not_root(name: str) -> None:
    service = SERVICES[name]
    limits = service["deploy"]["resources"]["limits"]
    user = service.get("user") or user_of_stage(service["build"]["target"])

    assert float(limits["cpus"]) > 0
    assert re.fullmatch(r"\d+[mg]", limits["memory"])
    assert re.match(r"[1-9]\d*:\d+$", str(user))
    assert service["logging"]["options"]["max-size"]
    assert service["profiles"]
    if name not in ONCE:
        assert service["healthcheck"]["test"][0] == "CMD"
        assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_is_pinned(name: str) -> None:
    image = fill(SERVICES[name]["image"], {})
    repository, tag = image.rsplit(":", 1)

    assert re.search(r"\d+\.\d+|\d{4}-\d\d|^\d{3}$", tag)
    if repository.startswith("storelake/"):
        pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        assert tag == pyproject["project"]["version"]
        assert SERVICES[name]["build"]["target"] == repository.removeprefix("storelake/")


def test_servers_have_the_versions_that_the_tests_run_on() -> None:
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"
    assert SERVICES["pulsar"]["image"] == f"apachepulsar/pulsar:{PULSAR_VERSION}"
    assert SERVICES["trino"]["image"] == f"trinodb/trino:{TRINO_VERSION}"


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_that_others_wait_for_has_a_health_check(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        needed = SERVICES[other]
        if how["condition"] == "service_healthy":
            assert "healthcheck" in needed
        else:
            assert how["condition"] == "service_completed_successfully"
            assert other in ONCE
        if how.get("required", True):
            together = {"core", *SERVICES[name]["profiles"]} & set(needed["profiles"])
            assert together, f"{name} needs {other}, which its profiles leave out"


def test_ports_are_published_on_loopback_each_once() -> None:
    published = [text for one in SERVICES.values() for text in one.get("ports", [])]
    outer = [text.rsplit(":", 2)[1] for text in published]

    assert all(text.startswith("${BIND_ADDRESS:-127.0.0.1}:") for text in published)
    assert len(set(outer)) == len(outer)


def test_on_the_host_a_service_has_the_port_that_it_has_without_containers() -> None:
    local = Settings(_env_file=None)
    assert ports("kafka")[local.kafka.port] == local.kafka.port
    assert ports("pulsar") == {6650: local.pulsar.port, 8080: local.pulsar.admin_port}
    assert ports("postgres") == {5432: local.postgres.port}
    assert ports("minio")[9000] == local.s3.port
    assert ports("trino") == {8080: local.trino.port}
    operations = GatewaySettings().operations_port  # of the network of containers alone
    assert ports("gateway") == {local.gateway.port: local.gateway.port, operations: None}
    assert ports("console") == {local.console.port: local.console.port}


def test_every_variable_is_explained_and_used_and_a_secret_has_no_default() -> None:
    used = set(re.findall(r"\$\{(\w+)", COMPOSE))
    optional = set(re.findall(r"\$\{(\w+)(?::-[^}]*)?\}", COMPOSE))
    lines = EXAMPLE.splitlines()

    assert used | {"COMPOSE_PROFILES"} == set(example())
    assert not secrets() & optional
    assert secrets() == set(re.findall(r"\$\{(\w+):\?", COMPOSE))
    for number, line in enumerate(lines):
        if "=" in line and not line.startswith("#"):
            block = list(reversed(lines[:number]))
            first = next(one for one in block if not re.match(r"\w+=", one))
            assert first.startswith("#"), f"{line} has no comment above it"


def test_the_example_has_the_defaults_of_the_file() -> None:
    defaults = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", COMPOSE))
    gpu = {"DETECTOR": "yolo"}  # of inference-gpu alone
    for name, value in defaults.items():
        assert example()[name] == value or gpu.get(name) == value


def test_the_settings_of_the_profile_and_of_every_service_are_known(compose_settings: Any) -> None:
    known = set(re.findall(r"`(STORELAKE_\w+)`", settings_page(ROOT)))
    profile = tomllib.loads((CONF_DIR / "profiles" / "compose.toml").read_text(encoding="utf-8"))
    leaves = {
        f"STORELAKE_{key}__{name}".upper()
        if isinstance(value, dict)
        else f"STORELAKE_{key}".upper()
        for key, value in profile.items()
        for name in (value if isinstance(value, dict) else [""])
    }
    asked = {key for name in SERVICES for key in variables(name) if key.startswith("STORELAKE_")}

    assert leaves <= known
    assert asked <= known
    for name in OURS:
        assert compose_settings(name).profile == "compose"


def test_only_who_opens_the_database_or_the_lake_has_their_secrets() -> None:
    without = {
        name for name in OURS if not any(v.startswith(SECRET) for v in variables(name).values())
    }
    assert without == {"footage", "inference", "inference-gpu", "spark-master", "spark-worker"}


def test_every_command_is_one_of_the_command_line() -> None:
    commands = [one["command"] for one in OURS.values() if "entrypoint" not in one]
    assert len(commands) >= 8
    for arguments in commands:
        parse(arguments)


def test_the_classes_of_spark_are_in_the_jars_that_pyspark_has() -> None:
    jars = Path(pyspark.__file__).parent / "jars"
    (core,) = jars.glob("spark-core_*.jar")
    names = set(zipfile.ZipFile(core).namelist())
    for name in ("spark-master", "spark-worker"):
        assert SERVICES[name]["command"][0].replace(".", "/") + ".class" in names
    (ivy,) = jars.glob("ivy-*.jar")
    assert ivy.name in DOCKERFILE.read_text(encoding="utf-8")


def addresses() -> Iterator[tuple[str, str, int]]:
    """(file, host, port) of every service that a file names."""
    files = [
        CONF_DIR / "profiles" / "compose.toml",
        *(ROOT / "infra" / "trino").glob("*.properties"),
        *(ROOT / "infra" / "docker").glob("*.env"),
        *(ROOT / "infra" / "docker").glob("*.yml"),
    ]
    texts = {file.name: file.read_text(encoding="utf-8") for file in files}
    texts |= {
        name: json.dumps([variables(name), SERVICES[name].get("command")]) for name in SERVICES
    }
    for where, text in texts.items():
        for host, port in re.findall(r"""(?:://|@|"|,)([a-z][\w-]*):(\d{4,5})\b""", text):
            yield where, host, int(port)


def test_every_address_is_a_service_and_a_port_that_it_has() -> None:
    found = list(addresses())
    assert len(found) > 20
    for where, host, port in found:
        controller = (host, port) == ("kafka", 9093)  # of the broker alone
        assert port in ports(host) or controller, f"{where} names {host}:{port}"


def test_prometheus_scrapes_the_address_of_each_process() -> None:
    conf = yaml.safe_load((ROOT / "infra/docker/prometheus.yml").read_text(encoding="utf-8"))
    targets = {
        t for job in conf["scrape_configs"] for s in job["static_configs"] for t in s["targets"]
    }
    local = Settings(_env_file=None)
    assert targets == {
        f"gateway:{GatewaySettings().operations_port}",
        f"inference:{local.inference.metrics_port}",
        f"quality:{local.quality.metrics_port}",
        f"streams:{local.streams.metrics_port}",
        f"maintenance:{local.maintenance.metrics_port}",
    }
    # The mount is at the place where the rules are looked for.
    (rules,) = conf["rule_files"]
    folder = Path(rules).parent
    assert any(v.split(":")[1] == str(folder) for v in SERVICES["prometheus"]["volumes"])


def test_grafana_finds_its_dashboards_and_its_prometheus() -> None:
    provisioning = ROOT / "infra" / "grafana" / "provisioning"
    texts = [file.read_text(encoding="utf-8") for file in provisioning.rglob("*.yml")]
    asked = {name for text in texts for name in re.findall(r"\$\{(\w+)\}", text)}
    given = variables("grafana")
    mounts = dict(v.split(":")[:2] for v in SERVICES["grafana"]["volumes"])

    postgres = {"POSTGRES_URL", "POSTGRES_DATABASE", "POSTGRES_SSLMODE"}
    reader = {"READER_USER", "READER_PASSWORD"}
    assert asked == {"PROMETHEUS_URL", "DASHBOARDS", *postgres, *reader} <= set(given)
    assert given["READER_USER"] == Settings(_env_file=None).postgres.reader_user
    assert mounts["./infra/grafana/dashboards"] == given["DASHBOARDS"]
    assert list((ROOT / "infra" / "grafana" / "dashboards").glob("*.json"))


@pytest.mark.parametrize("name", OURS)
def test_a_health_check_queries_a_port_of_its_own_service(name: str) -> None:
    if name in ONCE:
        return
    _, program, what = SERVICES[name]["healthcheck"]["test"]
    assert program == "healthy"
    if what != "streams":
        assert int(re.search(r"localhost:(\d+)/", what)[1]) in ports(name)  # type: ignore[index]


def test_the_gateway_has_the_page_that_its_health_check_requests(compose_settings: Any) -> None:
    path = SERVICES["gateway"]["healthcheck"]["test"][-1].partition(":18080")[2]
    assert (
        path
        in create_app(compose_settings("gateway"), MemoryPublisher(), MemoryKeys()).openapi()[
            "paths"
        ]
    )


def test_what_is_mounted_is_there_and_every_volume_is_used() -> None:
    mounted = [
        text.split(":")[0]
        for one in SERVICES.values()
        for text in (fill(v, example()) for v in one.get("volumes", []))
    ]
    declared = set(yaml.safe_load(COMPOSE)["volumes"])

    assert {m for m in mounted if not m.startswith(".")} == declared
    for path in {m for m in mounted if m.startswith(".")}:
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("kind", ["jdbc", "rest"])
def test_trino_reads_the_lake_that_the_streams_write(
    kind: str, compose_settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "infra" / "docker" / f"catalog-{kind}.env").read_text(encoding="utf-8")
    given = variables("streams") | dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))
    given["STORELAKE_POSTGRES__READER_PASSWORD"] = variables("trino")["READER_PASSWORD"]
    monkeypatch.setitem(SERVICES["streams"], "env_file", [])
    monkeypatch.setitem(SERVICES["streams"], "environment", given)
    expected = TrinoService(compose_settings("streams")).catalog()
    file = (ROOT / "infra" / "trino" / f"{kind}.properties").read_text(encoding="utf-8")
    for name in re.findall(r"\$\{ENV:(\w+)\}", file):
        file = file.replace(f"${{ENV:{name}}}", variables("trino")[name])

    assert file == expected


def test_the_images_are_built_from_what_is_there() -> None:
    assert {one["build"]["target"] for one in SERVICES.values() if "build" in one} <= set(stages())
    for lines in stages().values():
        base = lines[0].split()[1]
        assert base in stages() or re.search(r":.*\d", base), f"{base} is not pinned"
        for line in lines:
            if line.startswith("COPY "):
                words = [word for word in line.split()[1:-1] if not word.startswith("--")]
                of_stage = re.search(r"--from=(\S+)", line)
                if of_stage:
                    assert of_stage[1] in stages()
                else:
                    assert all((ROOT / word).exists() for word in words)


def test_the_dockerfile_is_clean() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    result = subprocess.run(
        [hadolint, DOCKERFILE], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert result.returncode == 0, result.stdout


def test_what_an_image_needs_is_listed_from_the_project() -> None:
    script = ROOT / "infra" / "docker" / "requirements.py"
    if sys.version_info < (3, 11):
        pytest.skip("the images have Python 3.11")
    extras = subprocess.run(
        [sys.executable, script, "pulsar"], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert "fastapi" in extras.stdout.split()
    assert "pulsar-client" in extras.stdout.split()
    assert "jupyterlab" not in extras.stdout.split()


def test_the_command_of_the_gateway_starts_and_its_health_check_passes(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("STORELAKE_")} | {
        "STORELAKE_PROFILE": "compose",
        "STORELAKE_VAR_DIR": str(tmp_path),
        "STORELAKE_GATEWAY__HOST": "127.0.0.1",  # as in no container: nobody else may come in
        "STORELAKE_GATEWAY__PORT": str(port),
        "STORELAKE_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1",
        **variables("gateway"),
    }
    command = [sys.executable, "-m", "cli.main", *SERVICES["gateway"]["command"]]

    def healthy(page: str) -> bool:
        check = [sys.executable, HEALTHY, f"http://127.0.0.1:{port}{page}"]
        return (
            subprocess.run(check, env=environment, capture_output=True, check=False).returncode == 0
        )

    assert not healthy("/health")
    with subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        try:
            assert wait_until(lambda: healthy("/health"), 60)
            assert not healthy("/ready")  # there is no Kafka
        finally:
            process.terminate()
    assert process.returncode == 0


def test_streams_are_healthy_when_all_of_them_run(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "STORELAKE_VAR_DIR": str(tmp_path)}
    check = [sys.executable, HEALTHY, "streams"]

    def healthy() -> bool:
        return subprocess.run(check, env=environment, cwd=tmp_path, check=False).returncode == 0

    file = tmp_path / "run" / "streams.json"
    file.parent.mkdir()
    for ready in (False, True):
        streams = {"a": {"ready": True}, "b": {"ready": ready}}
        who = {"host": gethostname(), "pid": os.getpid()}
        file.write_text(json.dumps({**who, "streams": streams}), encoding="utf-8")
        assert healthy() is ready


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The part of the checkout that the script of the containers needs."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    shutil.copy(ROOT / ".env.example", tmp_path)
    return tmp_path


def compose_script(checkout: Path, *arguments: str, path: str = "/usr/bin:/bin") -> Any:
    return subprocess.run(
        [checkout / "scripts" / "compose.sh", *arguments],
        env={"PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_secrets_are_made_once_and_only_their_owner_can_read_them(checkout: Path) -> None:
    assert compose_script(checkout, "env").returncode == 0
    written = (checkout / ".env").read_text(encoding="utf-8")
    made = dict(re.findall(r"^(\w+)=(.*)$", written, re.MULTILINE))

    assert (checkout / ".env").stat().st_mode & 0o777 == 0o600
    assert len({made[name] for name in secrets()}) == len(secrets())
    assert all(len(made[name]) == 48 for name in secrets())
    assert {k: v for k, v in made.items() if k not in secrets()} == {
        k: v for k, v in example().items() if k not in secrets()
    }
    assert "is there already" in compose_script(checkout, "env").stdout
    assert (checkout / ".env").read_text(encoding="utf-8") == written


@pytest.fixture
def docker(tmp_path: Path) -> Path:
    """A program in the place of Docker that records its arguments."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/asked\n', encoding="utf-8")
    program.chmod(0o755)
    return program


def test_without_docker_or_secrets_the_next_step_is_reported(checkout: Path, docker: Path) -> None:
    broken = docker.with_name("broken")
    broken.mkdir()
    (broken / "docker").symlink_to("/bin/false")
    lacking = compose_script(checkout, "start", path=f"{broken}:/usr/bin:/bin")
    assert lacking.returncode == 1
    assert "install them" in lacking.stderr

    unset = compose_script(checkout, "start", path=f"{docker.parent}:/usr/bin:/bin")
    assert unset.returncode == 1
    assert unset.stderr == ".env is missing: write it with `scripts/compose.sh env`.\n"


def test_data_is_deleted_only_with_the_option_for_it(checkout: Path, docker: Path) -> None:
    path = f"{docker.parent}:/usr/bin:/bin"
    compose_script(checkout, "env")
    assert compose_script(checkout, "reset", path=path).returncode == 1
    asked = checkout / "asked"
    assert not asked.exists() or "down" not in asked.read_text(encoding="utf-8")

    assert compose_script(checkout, "reset", "--yes", path=path).returncode == 0
    assert "down --volumes" in asked.read_text(encoding="utf-8")
