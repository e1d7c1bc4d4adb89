"""Every alert of the product fires in a real Prometheus, and none while all is well.

The figures are those of the product's own meters, moved by hand; the clock of `for` and of ranges
runs `SCALE` times as fast. The panels of the dashboards are asked of the same server.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any, cast

import pytest

from conf.exporter import served
from gateway.metrics import GatewayMetrics
from inference_service.buffer import FrameIntake
from inference_service.metrics import InferenceMetrics
from inference_service.publishers import Counts
from infra.local.process import wait_until
from quality.metrics import QualityMetrics
from quality.results import Result
from quality.run import QualityRun
from streaming.lake.maintenance.metrics import MaintenanceMetrics
from streaming.lake.maintenance.run import Done
from streaming.lineage.sender import lineage_counter
from streaming.runtime.metrics import Progress, StreamMetrics
from tests.conftest import free_ports
from tests.support.grafana import chosen, panels
from tests.support.prometheus_local import (
    RULES,
    Prometheus,
    prometheus,
    read_alerts,
    tool,
)

pytestmark = pytest.mark.requirement("M1")

SCALE = 300
JOBS = ("gateway", "streams", "inference", "quality", "maintenance")
GOOD_SECONDS = 45 * 60 / SCALE
"""As long as any alert needs: it waits half an hour, behind a quarter of an hour that it needs."""
TOPIC = "order-created"
GONE = {"ProcessDown", "QualityAbsent", "MaintenanceAbsent"}
"""The alerts on a process that is no more; all others are on figures of one that runs."""
ALERTS = [alert["alert"] for alert in read_alerts()]


def result(severity: str, state: str) -> Result:
    return Result(
        table="silver.orders",
        suite="rows",
        name=f"{severity}_one",
        kind="expect_column_values_to_not_be_null",
        severity=severity,
        state=state,
        snapshot_id=1,
        rows=10,
        unexpected=0,
        observed=None,
        samples="[]",
        says="An order has no id.",
    )


@dataclass
class Sandbox:
    """The meters of every process, and what a moment of a good or of a bad day does to them."""

    moments: int = 0
    now: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        self.long_ago = datetime.now(timezone.utc) - timedelta(hours=2)
        self.gateway = GatewayMetrics([TOPIC])
        names = ["order_event_processor", "footfall"]
        self.streams = StreamMetrics(names, settling=names, clock=lambda: self.now)
        self.lineage = lineage_counter(self.streams.registry)
        self.inference = InferenceMetrics()
        self.source = SimpleNamespace(live=True, name="a camera", reconnects=0, unreadable=0)
        cameras = dict.fromkeys(("B01-entrance", "B01-till"), cast("Any", self.source))
        self.intake = FrameIntake(cameras, 4)
        self.publisher = SimpleNamespace(delivered=0, counts=Counts())
        self.inference.watch(self.intake, cast("Any", self.publisher))
        self.quality = QualityMetrics(timedelta(seconds=60))
        self.maintenance = MaintenanceMetrics(timedelta(minutes=10))
        self.maintenance.retention_every(timedelta(minutes=10))

    def serve(self, stack: ExitStack, ports: Mapping[str, int]) -> None:
        """Each process at its port, until the stack is closed."""
        for name, port in ports.items():
            registry = getattr(self, name).registry
            stack.enter_context(served(registry, "127.0.0.1", port, "none"))

    def work(self) -> None:
        """Every part does what it should."""
        now = datetime.now(timezone.utc)
        self.moments, self.now = self.moments + 1, now.timestamp()
        self._orders(status=202, outcome="accepted", ack_seconds=0.01)
        for stream in ("order_event_processor", "footfall"):
            self.streams.is_up(stream, up=True)
            self.streams.state(stream, "running")
            self.streams.behind(stream, "kafka", self.moments % 3)
            self.streams.settled(stream)
            self._batch(stream, now, latency=0.8, aside=1)
        self.streams.broker_up.labels("kafka").set(1)
        self.lineage.labels("sent").inc()
        self.streams.objects("silver_detections", "B01-till", "person", 5)
        self.streams.objects("silver_detections", "B01-till", "chair", 5)
        self._frames(processed=20)
        self.publisher.delivered += 20
        self.quality.update(QualityRun("run", now, [result("critical", "passed")], seconds=2.0))
        self.maintenance.update(now, [Done("silver.orders", "done", files_after=3, seconds=1.0)])
        self.maintenance.retained(now)

    def fail(self) -> None:
        """Cause everything that there is an alert for."""
        self.moments, self.now = self.moments + 1, self.long_ago.timestamp()
        self._orders(status=503, outcome="broker_unavailable", ack_seconds=4.0)
        self.gateway.events(TOPIC, "invalid_event", 5)
        for stream in ("order_event_processor", "footfall"):
            self.streams.is_up(stream, up=False)
            self.streams.state(stream, "failed" if stream == "footfall" else "stalled")
            self.streams.failed([stream])
            self.streams.behind(stream, "kafka", 10_000 + 100 * self.moments)
            self.streams.settled(stream)
            self._batch(stream, self.long_ago, latency=120.0, aside=20)
        self.streams.broker_up.labels("kafka").set(0)
        self.lineage.labels("dropped").inc()
        self.streams.objects("silver_detections", "B01-entrance", "pedestrian", 5)
        self.source.reconnects += 2
        self._frames(processed=0)
        self.intake.queues["B01-till"].ended = True
        self.publisher.counts.errors += 1
        self.publisher.counts.on_disk += 10
        bad = [result("critical", "failed"), result("warning", "failed")]
        self.quality.update(QualityRun("run", self.long_ago, bad, seconds=100.0))
        failed = Done("silver.orders", "failed", seconds=1000.0)
        self.maintenance.update(self.long_ago, [failed])
        self.maintenance.retained(self.long_ago)

    def _orders(self, *, status: int, outcome: str, ack_seconds: float) -> None:
        self.gateway.answered("/api/kafka/events/order-created", status, ack_seconds)
        self.gateway.events(TOPIC, outcome, 10)
        self.gateway.bytes_accepted(TOPIC, 3_000)
        self.gateway.ack_seconds.observe(ack_seconds)

    def _batch(self, stream: str, watermark: datetime, *, latency: float, aside: int) -> None:
        """One of 100 rows; the state is large, and grows, when much is put aside."""
        state = 300_000_000 + 1_000 * self.moments if aside > 1 else 50_000
        done = Progress(
            rows=100,
            input_rate=500.0,
            processed_rate=2_000.0,
            seconds=0.5,
            phases={"addBatch": 0.4, "latestOffset": 0.05},
            watermark=watermark,
            state_rows=40,
            state_bytes=state,
        )
        self.streams.progressed([stream], done)
        self.streams.wrote(stream, 0.3, latency)
        self.streams.skipped(stream, "postgres", 0)
        self.streams.dead_letters(stream, aside)
        self.streams.late(stream, aside)

    def _frames(self, *, processed: int) -> None:
        """20 frames of each camera; those that are not processed came too late."""
        for camera, queue in self.intake.queues.items():
            queue.handed_out += 20
            queue.late += 20 - processed
            for _ in range(processed):
                self.inference.took("detect", 0.02)
                self.inference.frame_done(camera)


@dataclass
class Seen:
    """Alerts of Prometheus on a good day, on a bad one, and when every process was gone.

    Attributes:
        panels: (dashboard, panel, expression) -> how many series it showed on the good day.
    """

    good: set[str] = field(default_factory=set)
    bad: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    panels: dict[tuple[str, str, str], int] = field(default_factory=dict)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    sandbox, seen = Sandbox(), Seen()
    port, *ports = free_ports(1 + len(JOBS))
    by_job = dict(zip(JOBS, ports, strict=True))
    folder = tmp_path_factory.mktemp("prometheus")
    with ExitStack() as processes, prometheus(folder, port, by_job, SCALE) as server:
        sandbox.serve(processes, by_job)
        end = time.monotonic() + GOOD_SECONDS
        assert wait_until(lambda: good_day(sandbox, server, seen) and time.monotonic() > end, 120)
        for panel in panels():
            seen.panels[panel] = len(server.query(chosen(panel[2])))
        everything = set(ALERTS) - GONE
        wait_until(lambda: bad_day(sandbox, server, seen) >= everything, 120)
        processes.close()
        wait_until(lambda: nobody(server, seen) >= GONE, 60)
    return seen


def good_day(sandbox: Sandbox, server: Prometheus, seen: Seen) -> bool:
    """True once every process was asked often enough for any rate."""
    sandbox.work()
    if len(server.query("count_over_time(up[5s]) > 4")) < len(JOBS):
        return False  # before its first answers, everything is absent
    seen.good |= server.firing()
    return True


def bad_day(sandbox: Sandbox, server: Prometheus, seen: Seen) -> set[str]:
    """The alerts that have fired so far."""
    sandbox.fail()
    seen.bad |= server.firing()
    return seen.bad


def nobody(server: Prometheus, seen: Seen) -> set[str]:
    """The same, once no process answers."""
    seen.gone |= server.firing()
    return seen.gone


def test_the_rules_and_the_configuration_are_right_in_promtool() -> None:
    rules = map(str, sorted(RULES.glob("*.yml")))
    subprocess.run([tool("promtool"), "check", "rules", "--lint-fatal", *rules], check=True)
    config = RULES.with_name("prometheus.yml")
    subprocess.run([tool("promtool"), "check", "config", "--lint-fatal", str(config)], check=True)


def test_nothing_fires_while_all_is_well(seen: Seen) -> None:
    assert seen.good == set()


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_fires_when_what_it_is_about_happens(seen: Seen, alert: str) -> None:
    assert alert in (seen.gone if alert in GONE else seen.bad)


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: f"{panel[0]}: {panel[1]}")
def test_a_panel_of_a_dashboard_shows_something_on_a_good_day(
    seen: Seen, panel: tuple[str, str, str]
) -> None:
    assert seen.panels[panel]
