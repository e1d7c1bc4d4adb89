"""The end-to-end driver: a deployment with its programs, fresh or on services that run already.

Used by `make demo`, `make verify-*`, the end-to-end tests and the benchmarks.
"""

from __future__ import annotations

import json
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from conf.errors import StorelakeError
from conf.settings import Settings, load_settings
from infra import local
from infra.local.locks import exclusive
from infra.local.process import wait_until
from infra.local.readiness import gateway_ready
from infra.local.streams import ready_streams, streams_ready
from infra.terminal import one_interrupt
from verification.processes import STOP_SECONDS, Child, Ended, ProcessError, command, run_to_end

COMMAND_SECONDS = 300.0
STREAMS_SECONDS = 180.0
READY_SECONDS = 60.0
WAREHOUSE = "s3://storelake/warehouse"
METERS = ("streams", "maintenance", "quality", "inference")

Step = Callable[[str], None]


@dataclass(frozen=True)
class Camera:
    """A process of `storelake infer`; its totals are written when it ends."""

    child: Child
    summary: Path

    def ended(self) -> bool:
        """Whether it came to its end.

        Raises:
            ProcessError: it failed.
        """
        if self.child.poll():
            self.child.require_alive()
        return self.child.poll() is not None

    def totals(self) -> dict[str, Any]:
        """Wait for its end; see `inference_service.service.Summary`."""
        if self.child.wait(STOP_SECONDS):
            self.child.require_alive()
        return dict(json.loads(self.summary.read_text(encoding="utf-8")))


@dataclass
class Deployment:
    """Services that run, and `storelake` programs on them.

    Attributes:
        settings: with the password of the database.
        environment: variables that give programs these settings.
        step: receives the present step, one sentence.
        keep: whether the data of a fresh deployment is kept at its end.
    """

    settings: Settings
    environment: Mapping[str, str] = field(default_factory=dict)
    step: Step = lambda _: None
    keep: bool = False

    def storelake(self, *arguments: str, timeout: float = COMMAND_SECONDS) -> Ended:
        """Run `storelake <arguments>` to its end; exit code 124 after `timeout` seconds."""
        return run_to_end(command(arguments, self.environment), timeout)

    @contextmanager
    def run(self, name: str, *arguments: str, **variables: str) -> Iterator[Child]:
        """Run `storelake <arguments>` beside this process; SIGTERM at the end.

        Args:
            name: of its log in <var>/logs, which is appended to.
            arguments: of the command line.
            variables: on top of the deployment's.
        """
        child = self.spawn(name, arguments, variables)
        try:
            yield child
        finally:
            child.stop()

    def spawn(self, name: str, arguments: Sequence[str], variables: Mapping[str, str]) -> Child:
        """As `run`, for who ends it himself."""
        log = self.settings.var_dir / "logs" / f"{name}.log"
        return Child(name, command(arguments, {**self.environment, **variables}), log)

    @contextmanager
    def run_streams(self, *names: str, **variables: str) -> Iterator[Child]:
        """Streams (all without a name) in one Spark application; yields when all are active."""
        with self.run("streams", "run", *names, **variables) as child:
            self.require_streams(child)
            yield child

    @contextmanager
    def run_gateway(self) -> Iterator[Child]:
        """The HTTP gateway; yields when it is ready."""
        with self.run("gateway", "gateway") as child:
            self.require_ready(child, gateway_ready)
            yield child

    def require_streams(self, child: Child) -> None:
        """Wait until all streams of an application are active.

        Raises:
            ProcessError: it has ended, or no further stream became active for three minutes.
        """
        active = 0

        # A slow machine may take its time, as long as one stream after the other is started.
        def ready() -> bool:
            return streams_ready(self.settings, self.step)

        while not self._wait(ready, STREAMS_SECONDS, child):
            if (now := ready_streams(self.settings)) <= active:
                self.fail(f"no further stream started in {STREAMS_SECONDS:.0f} s")
            active = now

    def require_ready(self, child: Child, ready: Callable[[Settings], bool]) -> None:
        """Wait until an HTTP process is ready.

        Raises:
            ProcessError: it has ended, or is not ready in time.
        """
        sentence = f"the {child.title} is not ready"
        self.require(lambda: ready(self.settings), READY_SECONDS, sentence, every=0.05, alive=child)

    @contextmanager
    def run_camera(
        self, name: str, videos: Mapping[str, Path], publisher: str, *options: str
    ) -> Iterator[Camera]:
        """Play videos (camera id -> file) to the inference service.

        One thread by default: cameras share the cores with the streams.
        """
        summary = self.settings.var_dir / "run" / f"{name}.summary.json"
        summary.unlink(missing_ok=True)
        arguments = ["infer", "--publisher", publisher, "--summary", str(summary), *options]
        for camera_id, video in videos.items():
            arguments += ["--camera", camera_id, "--source", str(video)]
        threads = {"STORELAKE_INFERENCE__THREADS": str(self.settings.inference.threads or 1)}
        with self.run(name, *arguments, **threads) as child:
            yield Camera(child, summary)

    def require(
        self,
        condition: Callable[[], bool],
        seconds: float,
        otherwise: str,
        *,
        every: float = 1.0,
        alive: Child | None = None,
    ) -> None:
        """Wait until a condition holds.

        Args:
            condition: waited for.
            seconds: at most.
            otherwise: what is wrong after them.
            every: seconds between two looks.
            alive: a program that must run meanwhile.

        Raises:
            ProcessError: the condition does not hold in time, or the program has ended.
        """
        if not self._wait(condition, seconds, alive, every):
            self.fail(f"{otherwise} in {seconds:.0f} s")

    def fail(self, sentence: str) -> NoReturn:
        """Raise `ProcessError` with a sentence and the folder of the logs."""
        raise ProcessError(f"{sentence}; see {self.settings.var_dir}/logs")

    @staticmethod
    def _wait(
        condition: Callable[[], bool], seconds: float, alive: Child | None, every: float = 0.05
    ) -> bool:
        def holds() -> bool:
            if alive:
                alive.require_alive()
            return condition()

        return wait_until(holds, seconds, every=every)


def verify_fresh(
    base: Settings,
    name: str,
    step: Step,
    work: Callable[[Deployment], dict[str, Any]],
    *,
    pulsar: bool = False,
    s3: bool = False,
) -> dict[str, Any]:
    """Do some work in a fresh deployment; keep its data unless the result is `ok`.

    Args: as for `fresh_deployment`; `work` returns a result with `ok`.

    Returns:
        The result, and `seconds`.
    """
    started = time.monotonic()
    with fresh_deployment(base, name, step, pulsar=pulsar, s3=s3) as deployment:
        result = work(deployment)
        deployment.keep = not result["ok"]
    return {**result, "seconds": round(time.monotonic() - started, 1)}


@contextmanager
def fresh_deployment(
    base: Settings, name: str, step: Step, *, pulsar: bool = False, s3: bool = False
) -> Iterator[Deployment]:
    """Empty services in <var>/verify on free ports; all are stopped at the end.

    Args:
        base: of the operator; only its `var_dir` is used.
        name: of the verification, for messages.
        step: receives the present step.
        pulsar: start Pulsar, too; streams read both brokers.
        s3: put the lake on MinIO.

    Raises:
        StorelakeError: a service did not start. Data is kept after any such error, logs always.
    """
    folder = base.var_dir / "verify"
    with exclusive(base.var_dir / "run" / "verify.lock", name, 0.0), one_interrupt():
        _require_local(base, name, pulsar=pulsar)
        local.reset(load_settings(var_dir=folder))
        shutil.rmtree(folder, ignore_errors=True)
        # Only now: the password in a folder that was kept would count as one of the operator.
        deployment = new_deployment(folder, step, pulsar=pulsar, s3=s3)
        try:
            with local.running(deployment.settings, step) as deployment.settings:
                yield deployment
        except StorelakeError:
            deployment.keep = True
            raise
        finally:
            if not deployment.keep:
                local.reset(deployment.settings)


def _require_local(base: Settings, name: str, *, pulsar: bool) -> None:
    foreign = {
        "KAFKA__BOOTSTRAP_SERVERS": base.kafka.bootstrap_servers,
        "POSTGRES__LOCAL": not base.postgres.local,
        "CATALOG__WAREHOUSE": base.catalog.warehouse and not base.wants_minio,
        "CATALOG__URI": base.catalog.uri,
        "S3__ENDPOINT": base.s3.endpoint,
        "TRINO__URL": base.trino.enabled and base.trino.url,
        "PULSAR__SERVICE_URL": pulsar and base.pulsar.service_url,
    }
    if named := [f"STORELAKE_{key}" for key, value in foreign.items() if value]:
        raise StorelakeError(
            f"{name} works on local services and files of its own: unset {', '.join(named)} for it."
        )


def new_deployment(
    folder: Path, step: Step, *, pulsar: bool = False, s3: bool = False
) -> Deployment:
    """A deployment in a folder, on free ports and without metrics; starts nothing."""
    kafka, controller, postgres, gateway, broker, admin, minio, trino, page = free_ports(9)
    tree: dict[str, dict[str, Any]] = {
        "kafka": {"port": kafka, "controller_port": controller},
        "postgres": {"port": postgres},
        "gateway": {"port": gateway, "operations_port": 0},
        "s3": {"port": minio},
        "trino": {"port": trino},
        "console": {"port": page},
        **{name: {"metrics_port": 0} for name in METERS},
    }
    environment = {"STORELAKE_VAR_DIR": str(folder)}
    if pulsar:
        tree["pulsar"] = {"port": broker, "admin_port": admin}
        tree["streams"] |= {"detections_from": ("kafka", "pulsar")}
        environment["STORELAKE_STREAMS__DETECTIONS_FROM"] = '["kafka", "pulsar"]'
    if s3:
        tree["catalog"] = {"warehouse": WAREHOUSE}
        environment["STORELAKE_CATALOG__WAREHOUSE"] = WAREHOUSE
    environment |= {
        f"STORELAKE_{branch.upper()}__{key.upper()}": str(value)
        for branch, values in tree.items()
        for key, value in values.items()
        if isinstance(value, int)
    }
    return Deployment(load_settings(var_dir=folder, **tree), environment, step)


def free_ports(count: int) -> list[int]:
    """Ports without a listener, all open at once while choosing so that they differ."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(probe.getsockname()[1]) for probe in probes]
