"""A lake on a real S3: streams, retention and quality work there, and every rejection is a
sentence.

What streams promise is shown on a disk (tests/stream, which `--warehouse s3` runs on an S3, whole).
Here is what an S3 may break: the order sink replayed, restarted, and answered with 503 on the way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import psutil
import pytest
from pyarrow import fs
from typer.testing import CliRunner

from cli.main import app
from conf.errors import StorelakeError
from conf.settings import Settings
from infra.errors import ServiceError
from infra.local.minio import MinioService
from infra.local.process import wait_until
from infra.local.provision import ensure_bucket
from streaming.lake.iceberg.catalog import open_catalog
from streaming.lake.iceberg.lake import IcebergLake
from streaming.lake.iceberg.purge import purge
from streaming.lake.iceberg.state import added_since, read_file
from streaming.lake.storage import StorageError, check_storage
from streaming.lake.tables import SILVER_ORDERS
from tests.conftest import free_ports
from tests.stream.sandbox import Rows, Sandbox, empty_tables
from tests.support.builders import order_event
from tests.support.s3_local import start_minio, through
from tests.support.spark_local import end_spark
from verification.faults.proxy import Tamper, TcpProxy
from verification.faults.tampering import Unavailable

pytestmark = [pytest.mark.timeout(900), pytest.mark.requirement("L1")]

SINKS = ("bronze_order_events", "order_event_processor")
LAKE = ("bronze.order_events", "silver.orders", "quarantine.order_events")


@pytest.fixture(scope="module")
def minio(services: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioService]:
    own = services.model_copy(update={"var_dir": tmp_path_factory.mktemp("s3")})
    service = start_minio(own, "s3://shop/lake")
    yield service
    service.stop()


@pytest.fixture(scope="module")
def on_s3(minio: MinioService) -> Settings:
    return minio.settings


def store(settings: Settings, **changes: Any) -> fs.S3FileSystem:
    """A client of its own, without Iceberg."""
    s3 = settings.s3
    keys = {"access_key": s3.access, "secret_key": s3.secret}
    return fs.S3FileSystem(endpoint_override=s3.url, region=s3.region, **keys)


def files(settings: Settings, table: str) -> list[str]:
    place = fs.FileSelector(f"shop/lake/{table.replace('.', '/')}/data", recursive=True)
    return [f.path for f in store(settings).get_file_info(place) if f.path.endswith(".parquet")]


class Story:
    """Orders of a shop whose lake is on S3: run once, checked by each test."""

    def __init__(self, sandbox: Sandbox, proxy: TcpProxy) -> None:
        self.sandbox, self.proxy, self.busy = sandbox, proxy, Unavailable((503,))
        self.lakes: dict[str, dict[str, Rows]] = {}
        self.noticed = False

    def remember(self, chapter: str) -> None:
        self.lakes[chapter] = {table: self.sandbox.lake(table) for table in LAKE}

    def run(self) -> None:
        self.sandbox.send_order(*(order_event(order_id=f"O-{n}") for n in range(10)))
        self.sandbox.send_raw("order-created", b"no order")
        self.sandbox.run(*SINKS)
        self.remember("first")

        self.sandbox.lose_newest_commit(*SINKS)
        self.sandbox.run(*SINKS, steps=[self._replayed], meanwhile=self._mend_once_noticed)
        self.remember("answered 503")

    def _replayed(self) -> None:
        self.remember("replayed")
        self.proxy.apply(self.busy)
        self.sandbox.send_order(*(order_event(order_id=f"O-{n}") for n in range(10, 30)))

    def _mend_once_noticed(self) -> None:
        text = (self.sandbox.settings.var_dir / "run" / "streams.json").read_text(encoding="utf-8")
        failures = max(s["failures"] for s in json.loads(text)["streams"].values())
        if failures and not self.noticed:
            self.noticed = True
            self.proxy.apply(Tamper())


@pytest.fixture(scope="module")
def story(on_s3: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    end_spark()  # the one of other tests has no client of S3
    empty_tables(on_s3)
    streams = {"source": "memory", "trigger_seconds": 0.1, "retries": 100, "retry_max_seconds": 0.5}
    catalog = on_s3.catalog.model_copy(update={"name": "s3"})
    own = on_s3.model_copy(
        update={
            "var_dir": tmp_path_factory.mktemp("sandbox"),
            "catalog": catalog,
            "streams": on_s3.streams.model_copy(update=streams),
        }
    )
    with closing(TcpProxy(on_s3.s3.port)) as proxy:
        story = Story(Sandbox(through(own, proxy.url)), proxy)
        story.run()
        yield story
    end_spark()


def order_ids(rows: Rows) -> list[str]:
    return sorted(row["order_id"] for row in rows)


def test_orders_are_in_silver_on_s3_and_bad_ones_in_quarantine(story: Story) -> None:
    first = story.lakes["first"]
    assert order_ids(first["silver.orders"]) == sorted(f"O-{n}" for n in range(10))
    assert [row["value"] for row in first["quarantine.order_events"]] == [b"no order"]
    assert len(first["bronze.order_events"]) == 11


def test_a_batch_that_runs_again_after_a_crash_changes_nothing_on_s3(story: Story) -> None:
    assert story.lakes["replayed"] == story.lakes["first"]


def test_an_s3_that_reports_503_costs_time_and_no_order(story: Story) -> None:
    assert story.noticed
    assert story.busy.fired
    assert order_ids(story.lakes["answered 503"]["silver.orders"]) == sorted(
        f"O-{n}" for n in range(30)
    )
    assert len(story.lakes["answered 503"]["bronze.order_events"]) == 31


def test_quality_reads_what_was_committed_file_by_file(story: Story) -> None:
    with closing(open_catalog(story.sandbox.settings)) as catalog:
        new = added_since(catalog.load_table("silver.orders"), 0)
        schema = new.iceberg.schema().as_arrow()
        rows = [
            r for p in new.paths for t in read_file(p, schema, new.access) for r in t.to_pylist()
        ]
    assert order_ids(rows) == order_ids(story.lakes["answered 503"]["silver.orders"])


def test_old_rows_leave_the_files_on_s3(story: Story) -> None:
    settings = story.sandbox.settings
    before = files(settings, "silver.orders")
    with closing(open_catalog(settings)) as catalog:
        limit = datetime.now(timezone.utc) + timedelta(days=1)
        purged = purge(IcebergLake(settings, catalog), SILVER_ORDERS, "event_time", limit)
    assert before
    assert (purged.rows_deleted, purged.rows_left) == (30, 0)
    assert files(settings, "silver.orders") == []


def test_a_lake_that_lies_elsewhere_is_not_split(story: Story) -> None:
    settings = story.sandbox.settings
    moved = settings.catalog.model_copy(update={"warehouse": "s3://attic/lake"})
    store(settings, allow_bucket_creation=True)
    elsewhere = settings.model_copy(update={"catalog": moved})
    assert ensure_bucket(elsewhere)
    with pytest.raises(StorelakeError, match=r"catalog s3 are in s3://shop, .*s3://attic/lake"):
        Sandbox(elsewhere).run("bronze_order_events")


def wrong(settings: Settings, **changes: Any) -> Settings:
    return settings.model_copy(update={"s3": settings.s3.model_copy(update=changes)})


@pytest.mark.parametrize("ask", [check_storage, ensure_bucket])
def test_a_wrong_setting_is_one_sentence_with_its_name(
    on_s3: Settings, ask: Callable[[Settings], object]
) -> None:
    (nobody,) = free_ports(1)
    secret = type(on_s3.s3.secret_key)
    for changes, message in (
        ({"region": "us-east-1"}, "in the region eu-central-1.*STORELAKE_S3__REGION=eu-central-1"),
        ({"access_key": secret("nobody")}, "does not know the access key: set STORELAKE_S3__ACC"),
        ({"secret_key": secret("guessed")}, "refuses the secret key.*STORELAKE_S3__SECRET_KEY"),
        ({"endpoint": f"http://127.0.0.1:{nobody}"}, "does not answer.*STORELAKE_S3__ENDPOINT"),
        ({"endpoint": on_s3.s3.url.replace("http", "https")}, "does not answer.*http://"),
    ):
        with pytest.raises(StorelakeError, match=message) as raised:
            ask(wrong(on_s3, **changes))
        assert "\n" not in str(raised.value)


def test_a_bucket_that_may_not_be_made_is_asked_for(on_s3: Settings) -> None:
    moved = on_s3.catalog.model_copy(update={"warehouse": "s3://cellar/lake"})
    elsewhere = wrong(on_s3.model_copy(update={"catalog": moved}), create_bucket=False)
    with pytest.raises(StorageError, match=r"has no bucket cellar: `storelake up` makes it"):
        check_storage(elsewhere)
    with pytest.raises(ServiceError, match=r"no bucket cellar, .*S3__CREATE_BUCKET is false"):
        ensure_bucket(elsewhere)


def test_an_s3_that_remains_busy_is_one_sentence(on_s3: Settings) -> None:
    with closing(TcpProxy(on_s3.s3.port)) as proxy:
        proxy.apply(Unavailable((503,)))
        with pytest.raises(StorageError, match=r"busy .*503"):
            check_storage(through(on_s3, proxy.url))


def test_run_reports_so_before_spark_starts(
    on_s3: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = wrong(on_s3, region="us-east-1")
    monkeypatch.setattr("cli.run.read_settings", lambda _: broken)
    monkeypatch.setattr(
        "streaming.runtime.runner.build_session", lambda *_: pytest.fail("Spark started")
    )
    done = CliRunner().invoke(app, ["run"])
    assert isinstance(done.exception, StorageError)


def test_a_killed_minio_comes_back_with_its_objects(minio: MinioService) -> None:
    with store(minio.settings).open_output_stream("shop/kept") as out:
        out.write(b"kept")
    process = minio.daemon.find()
    assert process is not None
    process.kill()
    psutil.wait_procs([process], timeout=10)
    assert minio.status().state == "stopped"
    minio.stop()
    minio.start()
    assert wait_until(minio.ready, 60), minio.last_lines()
    assert not ensure_bucket(minio.settings)
    with store(minio.settings).open_input_stream("shop/kept") as kept:
        assert kept.read() == b"kept"
    assert listeners(minio) <= {"127.0.0.1", "::1"}


def listeners(service: MinioService) -> set[str]:
    process = service.daemon.find()
    assert process is not None
    found = process.net_connections(kind="tcp")
    return {c.laddr.ip for c in found if c.status == psutil.CONN_LISTEN}
