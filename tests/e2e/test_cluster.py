"""Streams on a standalone Spark cluster: a worker is killed; then the lake is read by Connect."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from confluent_kafka import Producer

from conf.kafka import client_config
from conf.settings import Settings
from infra.local.process import is_alive, wait_until
from infra.local.provision import ensure_topics
from streaming.lake.formats import open_lake
from tests.conftest import free_ports, settings_from
from tests.stream.sandbox import empty_tables, later
from tests.support.builders import as_json, detection, detection_event, order_event
from tests.support.cluster_local import SPARK_HOME, Cluster, running_cluster
from tests.support.s3_local import start_minio

pytestmark = [pytest.mark.timeout(900), pytest.mark.requirement("D2")]

ROOT = Path(__file__).parents[2]
NAMES = ("bronze_order_events", "order_event_processor", "real_time_metrics", "footfall")
ORDERS = [f"O-{number:03}" for number in range(400)]
FRAMES = 500
ROWS = 100
"""Rows of a micro-batch: so many orders and frames are written before a worker is killed."""
TEN = "2024-05-01T10:00:00Z"
CLIENT = """
import json, sys
from pyspark.sql import SparkSession
spark = SparkSession.builder.remote(sys.argv[1]).getOrCreate()
rows = spark.sql("SELECT order_id FROM cluster.silver.orders ORDER BY order_id").collect()
print(json.dumps([row.order_id for row in rows]))
"""


@dataclass
class Chain:
    """A cluster, its services, and what the test found.

    Attributes:
        environment: variables of the driver: where everything is, and the secrets.
        before: rows of orders_raw, and frames counted, when the worker had died.
        killed: the command lines of what died.
        whereabouts: where each executor has its code.
    """

    cluster: Cluster
    environment: dict[str, str]
    settings: Settings
    before: tuple[int, int] = (0, 0)
    killed: list[str] = field(default_factory=list)
    whereabouts: list[dict[str, Any]] = field(default_factory=list)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.settings.postgres.dsn) as connection:
            return connection.execute(statement.encode()).fetchall()

    def lake(self, table: str) -> list[dict[str, Any]]:
        with closing(open_lake(self.settings)) as lake:
            rows: list[dict[str, Any]] = lake.read(table).to_pylist()
        return rows

    def written(self) -> tuple[int, int]:
        """Orders, and frames of cameras, that are in Postgres."""
        orders, frames = self.query(
            "SELECT count(*) FROM orders_raw UNION ALL "
            "SELECT coalesce(sum(frames), 0) FROM footfall_minute"
        )
        return int(orders[0]), int(frames[0])

    def send(self, orders: range, frames: range) -> None:
        """Orders, and after each twentieth a scribble; and a visitor who walks over the line."""
        kafka = self.settings.kafka
        producer = Producer(client_config(kafka, "admin"))
        for number in orders:
            event = order_event(order_id=ORDERS[number])
            producer.produce(kafka.order_created, as_json(event), ORDERS[number].encode())
            if number % 20 == 0:
                producer.produce(kafka.order_created, b"scribble", b"nobody")
        for index in frames:
            x = 0.2 + 0.6 * index / FRAMES
            anna = detection(track_id="anna", bbox=[x - 0.03, 0.3, x + 0.03, 0.6])
            at = later(TEN, index / 5)
            event = detection_event(detections=[anna], frame_index=index, captured_at=at)
            producer.produce(kafka.detections, as_json(event), b"B01-entrance")
        assert producer.flush(30) == 0

    def submit(self, name: str, *arguments: str, **variables: str) -> psutil.Popen:
        """`spark-submit` with the properties that the command prints, which hold no secret."""
        conf = subprocess.run(
            [sys.executable, "-m", "cli.main", "spark-conf"],
            cwd=ROOT,
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert self.settings.postgres.secret not in conf.stdout
        assert self.settings.s3.secret not in conf.stdout
        file = self.cluster.folder / "spark.conf"
        file.write_text(conf.stdout, encoding="utf-8")
        return self.cluster.submit(
            name, self.environment | variables, "--properties-file", str(file), *arguments
        )

    def run(self) -> None:
        """Streams until all is written; a worker dies on the way."""
        answers = self.cluster.folder / "whereabouts.json"
        job = shutil.copy(Path(__file__).with_name("cluster_job.py"), self.cluster.folder)
        driver = self.submit(
            "streams",
            *("--conf", "spark.executor.memory=640m", "--conf", "spark.executor.cores=1"),
            *("--conf", "spark.executor.extraJavaOptions=-XX:+UseSerialGC -XX:TieredStopAtLevel=1"),
            *("--conf", "spark.scheduler.minRegisteredResourcesRatio=1.0"),
            *(str(job), str(answers), *NAMES),
        )
        self.wait(driver, lambda: self.written() == (ROWS, ROWS))
        self.send(range(ROWS, len(ORDERS)), range(ROWS, FRAMES))
        self.wait(driver, lambda: self.written() > (ROWS, ROWS))
        self.killed = self.cluster.kill_worker(0)
        self.before = self.written()
        self.wait(driver, lambda: self.written() == (len(ORDERS), FRAMES))
        self.whereabouts = json.loads(answers.read_text(encoding="utf-8"))
        # What `spark-submit` starts is the JVM; the streams are stopped in the Python below it.
        below = [child for child in driver.children() if is_alive(child)]
        (python,) = [child for child in below if str(job) in child.cmdline()]
        python.send_signal(signal.SIGTERM)
        assert driver.wait(120) == 0, self.cluster.log("streams")

    def wait(self, driver: psutil.Popen, condition: Callable[[], bool]) -> None:
        met = wait_until(lambda: driver.poll() is not None or condition(), 400)
        assert met, self.cluster.log("streams")
        assert driver.poll() is None, self.cluster.log("streams")


@pytest.fixture(scope="module")
def archive() -> Path:
    """What `make dist` builds, unpacked where jobs are submitted from."""
    built = subprocess.run(
        ["scripts/build-archive.sh"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    return ROOT / built.stdout.split()[-1]


@pytest.fixture(scope="module")
def chain(
    archive: Path,
    services: Settings,
    environment: Mapping[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Chain]:
    """The scenario, run once: sent, half written, a worker killed, all written."""
    empty_tables(services)
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "environment").mkdir()
    subprocess.run(["tar", "-xzf", archive, "-C", folder / "environment"], check=True)
    minio = start_minio(services.model_copy(update={"var_dir": folder / "s3"}), "s3://cluster/lake")
    try:
        with running_cluster(folder) as cluster:
            ours = driver_environment(environment, minio.settings, cluster, archive)
            chain = Chain(cluster, ours, settings_from(ours))
            ensure_topics(chain.settings.kafka)
            chain.send(range(ROWS), range(ROWS))
            chain.run()
            yield chain
    finally:
        minio.stop()


def driver_environment(
    environment: Mapping[str, str], settings: Settings, cluster: Cluster, archive: Path
) -> dict[str, str]:
    """The variables of a driver: topics of its own, the lake and the checkpoints on S3."""
    topics = ("order_created", "order_updated", "order_cancelled", "order_events", "order_dlq")
    user, password = settings.kafka.credentials("admin")  # the others have no right to these topics
    own = {
        "KAFKA__USERNAME": user,
        "KAFKA__PASSWORD": password,
        **{f"KAFKA__{topic.upper()}": f"cluster-{topic}" for topic in (*topics, "detections")},
        "VAR_DIR": str(cluster.folder),
        "POSTGRES__WRITER_PASSWORD": settings.postgres.secret,
        "CATALOG__NAME": "cluster",
        "CATALOG__WAREHOUSE": "s3://cluster/lake",
        "STREAMS__CHECKPOINTS": "s3://cluster/checkpoints",
        "STREAMS__MAX_ROWS_PER_BATCH": str(ROWS),
        "STREAMS__PREFETCH_ROWS": "0",  # every row is read on an executor
        "S3__PORT": str(settings.s3.port),
        "S3__REGION": settings.s3.region,
        "S3__ACCESS_KEY": settings.s3.access,
        "S3__SECRET_KEY": settings.s3.secret,
        "SPARK__MASTER": cluster.url,
        "SPARK__DRIVER_HOST": "127.0.0.1",
        "SPARK__ARCHIVE": str(archive),
        "SPARK__CONNECT_PORT": str(free_ports(1)[0]),
    }
    # Without the jars of both formats, which tests of one process share.
    left_out = ("STORELAKE_SPARK__PACKAGES", "STORELAKE_SPARK__DELTA_PACKAGES")
    kept = {k: v for k, v in environment.items() if k.startswith("STORELAKE_")}
    ours = kept | {f"STORELAKE_{key}": value for key, value in own.items()}
    return {key: value for key, value in ours.items() if key not in left_out}


def test_executors_run_what_is_in_the_archive_and_nothing_else(chain: Chain) -> None:
    assert len({place["folder"] for place in chain.whereabouts}) == 2
    for place in chain.whereabouts:
        folder = Path(place["folder"])
        assert folder.is_relative_to(chain.cluster.folder)
        here = (folder / "environment").resolve()
        assert all(Path(module).is_relative_to(here) for module in place["modules"])
        # Spark adds its own Python, which a virtual environment of the checkout may hold.
        ours = [path for path in map(Path, place["path"]) if path.is_relative_to(ROOT)]
        assert all(path.is_relative_to(SPARK_HOME) for path in ours)


def test_a_killed_worker_costs_no_order_and_makes_none_twice(chain: Chain) -> None:
    orders, frames = chain.before
    assert orders + frames - ROWS > ROWS
    assert orders < len(ORDERS)
    assert frames < FRAMES
    assert any("CoarseGrainedExecutorBackend" in line for line in chain.killed)
    assert "Lost executor" in chain.cluster.log("streams")

    assert sorted(row[0] for row in chain.query("SELECT order_id FROM orders_raw")) == ORDERS
    assert sorted(row["order_id"] for row in chain.lake("silver.orders")) == ORDERS
    bad = len(ORDERS) // 20
    assert len(chain.lake("quarantine.order_events")) == bad
    bronze = [(row["partition"], row["position"]) for row in chain.lake("bronze.order_events")]
    assert len(bronze) == len(set(bronze)) == len(ORDERS) + bad
    assert chain.query("SELECT order_count FROM order_metrics") == [(len(ORDERS),)]


def test_a_track_is_followed_on_from_its_state_on_s3(chain: Chain) -> None:
    counted = "SELECT sum(frames), sum(late_frames), sum(entries), sum(exits) FROM footfall_minute"
    assert chain.query(counted) == [(FRAMES, 0, 1, 0)]


def test_a_client_of_spark_connect_reads_the_lake(chain: Chain) -> None:
    token = {"SPARK_CONNECT_AUTHENTICATE_TOKEN": "let-me-in"}
    file = chain.cluster.folder / "environment" / "lib" / "streaming" / "connect.py"
    # A second application, whose `spark-submit` arguments take precedence over the settings.
    server = chain.submit("connect", "--master", "local[1]", str(file), **token)
    chain.wait(server, lambda: "answering at sc://127.0.0.1:" in chain.cluster.log("connect"))
    # A client sends a token without TLS to this name alone.
    address = f"sc://localhost:{chain.settings.spark.connect_port}"

    assert ask(address, token) == ORDERS
    with pytest.raises(AssertionError, match="UNAUTHENTICATED"):
        ask(address, {})


def ask(address: str, variables: Mapping[str, str]) -> list[str]:
    """All order ids in silver, by a client in a process of its own."""
    client = subprocess.run(
        [sys.executable, "-c", CLIENT, address],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert client.returncode == 0, client.stderr
    answer: list[str] = json.loads(client.stdout)
    return answer
