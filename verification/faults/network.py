"""Streams and gateway behind proxies that slow, reset and cut their connections."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from infra.local.process import wait_until
from infra.local.program_status import lag_rows
from verification.deployment import free_ports
from verification.faults import tampering
from verification.faults.deployment import SupervisedDeployment, now
from verification.faults.fault import (
    READY_SECONDS,
    Fired,
    Inject,
    NotFiredError,
)
from verification.faults.hangs import Report, report_words, watch
from verification.faults.proxy import Tamper
from verification.processes import Child, ProcessError

SLOW_SECONDS = 2.0
LAST_SECONDS = 30.0
HIT_SECONDS = 45.0

ORDERS_COPIED = ("order_keys", "order_events", "newest_orders", "status_rows")
CAMERAS_COPIED = ("frame_counts", "seen_crossings", "seen_visits", "queue_lengths", "seen_staff")
PROXIED = ("streams", "gateway")


class ProxiedPrograms:
    """Streams and gateway beside the supervisor; services are behind the deployment's proxies."""

    def __init__(self, deployment: SupervisedDeployment) -> None:
        self._deployment = deployment
        self._children: dict[str, Child] = {}
        proxies, settings = deployment.proxies, deployment.settings
        (port,) = free_ports(1)
        streams = settings.streams.model_copy(update={"metrics_port": port})
        self._metrics = settings.model_copy(update={"streams": streams})
        user, password = settings.kafka.credentials("admin")  # one user for every program
        self._variables = {
            "STORELAKE_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{proxies['kafka'].port}",
            "STORELAKE_KAFKA__USERNAME": user,
            "STORELAKE_KAFKA__PASSWORD": password,
            "STORELAKE_POSTGRES__PORT": str(proxies["postgres"].port),
            "STORELAKE_STREAMS__METRICS_PORT": str(self._metrics.streams.metrics_port),
        }
        if "s3" in proxies:
            self._variables["STORELAKE_S3__ENDPOINT"] = proxies["s3"].url

    @property
    def streams(self) -> Child:
        """The application."""
        return self._children["streams"]

    def lag(self) -> int | None:
        """Messages that wait for the stream that is furthest behind; None: it is not known."""
        return lag_rows(self._metrics)

    def restart(self, more: Mapping[str, str] | None = None) -> str:
        """End both, start them with some more variables, and wait for commits.

        Returns:
            An error message, or nothing.
        """
        self.end()
        since = now()
        for name, argument in (("gateway", "gateway"), ("streams", "run")):
            variables = {**self._variables, **(more or {} if name == "streams" else {})}
            self._children[name] = self._deployment.spawn(f"{name}-proxied", (argument,), variables)
        if self._deployment.wait_for_commits(since, READY_SECONDS):
            return ""
        return "streams behind proxies do not commit"

    def end(self) -> None:
        """SIGTERM both, and wait."""
        for child in self._children.values():
            child.stop()
        self._children.clear()


@contextmanager
def behind_proxies(deployment: SupervisedDeployment) -> Iterator[None]:
    """Streams and gateway run behind proxies until the end of the block."""
    if deployment.storelake("stop", *PROXIED).code:
        raise ProcessError("streams and gateway do not stop")
    deployment.beside = programs = ProxiedPrograms(deployment)
    try:
        if trouble := programs.restart():
            raise ProcessError(trouble)
        yield
    finally:
        programs.end()
        deployment.beside = None
        deployment.heal()


def proxied(deployment: SupervisedDeployment) -> ProxiedPrograms:
    """The programs behind proxies.

    Raises:
        NotFiredError: there are none.
    """
    if isinstance(deployment.beside, ProxiedPrograms):
        return deployment.beside
    raise NotFiredError("nothing runs behind a proxy")


def slow(service: str) -> Inject:
    """Each answer of a service takes two seconds longer, for half a minute."""

    def inject(deployment: SupervisedDeployment) -> Fired:
        tamper = tampering.Slow(SLOW_SECONDS)
        with deployment.proxies[service].tampering(tamper):
            report = watch(deployment, f"{service} is slow", LAST_SECONDS)
        return _fired(deployment, f"{len(tamper.fired)} answers 2 s late", tamper, report)

    return inject


def unavailable(deployment: SupervisedDeployment) -> Fired:
    """S3 answers 500 and 503 for half a minute."""
    tamper = tampering.Unavailable()
    with deployment.proxies["s3"].tampering(tamper):
        report = watch(deployment, "S3 answers 500 and 503", LAST_SECONDS)
    return _fired(deployment, f"{len(tamper.fired)} requests refused", tamper, report)


def _fired(
    deployment: SupervisedDeployment, observed: str, tamper: Tamper, report: Report | None
) -> Fired:
    if not tamper.fired:
        raise NotFiredError("nothing passed the proxy")
    child = proxied(deployment).streams
    broken = () if child.poll() is None else (f"the application ended: {child.returncode}",)
    return Fired(f"{observed}; {report_words(report)}", now(), broken)


def hit(
    service: str,
    make: Callable[[SupervisedDeployment], Tamper],
    required: Callable[[SupervisedDeployment], Mapping[str, tuple[str, ...]]],
) -> Inject:
    """Tamper with a service until each kind of its traffic was hit.

    Args:
        service: a key of the proxies.
        make: the tamper.
        required: kind of traffic -> names of which one must be hit, whole or as a part of a name.
    """

    def inject(deployment: SupervisedDeployment) -> Fired:
        tamper, kinds = make(deployment), required(deployment)

        def missing() -> list[str]:
            return [
                kind
                for kind, names in kinds.items()
                if not any(name in fired for name in names for fired in tamper.fired)
            ]

        with deployment.proxies[service].tampering(tamper):
            wait_until(lambda: not missing(), HIT_SECONDS)
        if left := missing():
            raise NotFiredError(f"hit {tamper.fired or 'nothing'}, nothing of {', '.join(left)}")
        return _fired(deployment, f"hit {', '.join(tamper.fired)}", tamper, None)

    return inject


def _copied(_: SupervisedDeployment) -> dict[str, tuple[str, ...]]:
    return {"orders": ORDERS_COPIED, "detections": CAMERAS_COPIED}


def _committed(deployment: SupervisedDeployment) -> dict[str, tuple[str, ...]]:
    iceberg = deployment.settings.catalog.format == "iceberg"
    catalog = {"catalog": (tampering.CATALOG,)} if iceberg else {}
    return {**_copied(deployment), **catalog}


def _topics(deployment: SupervisedDeployment) -> dict[str, tuple[str, ...]]:
    kafka = deployment.settings.kafka
    return {"orders": tuple(kafka.order_topics), "detections": (kafka.detections,)}


def _lost_produce(deployment: SupervisedDeployment) -> Tamper:
    return tampering.LostProduce(name for names in _topics(deployment).values() for name in names)


reset_in_copy = hit("postgres", lambda _: tampering.ResetInCopy(), _copied)
lost_commit = hit("postgres", lambda _: tampering.LostCommit(), _committed)
lost_produce = hit("kafka", _lost_produce, _topics)
lost_put = hit(
    "s3",
    lambda _: tampering.LostPut(),
    lambda _: {"orders": ("order",), "detections": ("detections",)},
)
