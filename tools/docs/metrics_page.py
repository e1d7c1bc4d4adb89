"""docs/METRICS.md: the metrics of each process, read from its Prometheus registry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from prometheus_client import CollectorRegistry

from gateway.metrics import GatewayMetrics
from inference_service.buffer import FrameIntake
from inference_service.metrics import InferenceMetrics
from inference_service.publishers.memory import MemoryEventPublisher
from quality.metrics import QualityMetrics
from streaming.lake.maintenance.metrics import MaintenanceMetrics
from streaming.lineage.sender import lineage_counter
from streaming.runtime.metrics import StreamMetrics
from tools.docs.markdown import code, render

PORTS = {
    "gateway": "`storelake gateway`, on `STORELAKE_GATEWAY__OPERATIONS_PORT`, or where that is 0 "
    "(profile `local`) on `STORELAKE_GATEWAY__PORT`",
    "streams": "`storelake run` and each job, on `STORELAKE_STREAMS__METRICS_PORT`",
    "inference": "`storelake infer`, on `STORELAKE_INFERENCE__METRICS_PORT`",
    "quality": "`storelake quality run --every AGE`, on `STORELAKE_QUALITY__METRICS_PORT`",
    "maintenance": "`storelake maintain --every AGE`, on `STORELAKE_MAINTENANCE__METRICS_PORT`",
}
ENDINGS = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


@dataclass(frozen=True)
class Meter:
    """One metric of the product.

    Attributes:
        name: without the suffixes of its kind.
        kind: counter, gauge or histogram.
        labels: their names.
        description: what it measures.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    description: str

    @property
    def series(self) -> list[str]:
        """The names of its series in PromQL."""
        return [self.name + ending for ending in ENDINGS[self.kind]]


def registries() -> dict[str, CollectorRegistry]:
    """The registry of every process, as it is after its start."""
    inference, minute = InferenceMetrics(), timedelta(minutes=1)
    inference.watch(FrameIntake({}, 1), MemoryEventPublisher())
    streams, quality = StreamMetrics(()).registry, QualityMetrics(minute).registry
    for registry in (streams, quality):
        lineage_counter(registry)
    return {
        "gateway": GatewayMetrics(()).registry,
        "streams": streams,
        "inference": inference.registry,
        "quality": quality,
        "maintenance": MaintenanceMetrics(minute).registry,
    }


def meters(registry: CollectorRegistry) -> Iterator[Meter]:
    """The metrics of the product in a registry, by name."""
    families = {
        family.name: (family, getattr(made, "_labelnames", getattr(family, "_labelnames", ())))
        for made in registry._collector_to_names  # public families lack their labels
        for family in made.collect()
    }
    for name, (family, labels) in sorted(families.items()):
        if name.startswith("storelake_"):
            yield Meter(name, family.type, tuple(labels), family.documentation)


def metrics_page() -> str:
    """The page without the notice that it is generated."""
    processes = {
        process: [
            (
                f"`{meter.name}{'_total' if meter.kind == 'counter' else ''}`",
                meter.kind,
                code(meter.labels),
                meter.description,
            )
            for meter in meters(registry)
        ]
        for process, registry in registries().items()
    }
    return render("METRICS", processes=processes, ports=PORTS)
