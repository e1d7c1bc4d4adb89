"""docs/METRICS.md: what each process tells Prometheus, from its own meters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from prometheus_client import CollectorRegistry

from cli.grid import grid

HEAD = """\
# Metrics

What each process serves at `/metrics`, each with a page of its own; `process_*` (memory, CPU) come
with them. [MONITORING.md](MONITORING.md) says how they are read, and what the alerts mean.

A counter only rises and begins at 0 with its process; a histogram has `_bucket`, `_sum` and
`_count`.
"""
PORTS = {
    "gateway": "`storelake gateway`, on `STORELAKE_GATEWAY__PORT`",
    "streams": "`storelake run` and each job, on `STORELAKE_STREAMS__METRICS_PORT`",
    "inference": "`storelake infer`, on `STORELAKE_INFERENCE__METRICS_PORT`",
    "quality": "`storelake quality run --every AGE`, on `STORELAKE_QUALITY__METRICS_PORT`",
    "maintenance": "`storelake maintain --every AGE`, on `STORELAKE_MAINTENANCE__METRICS_PORT`",
}
ENDINGS = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


@dataclass(frozen=True)
class Meter:
    """One metric of ours.

    Attributes:
        name: without the endings of its kind.
        kind: counter, gauge or histogram.
        labels: their names.
        says: what it counts.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    says: str

    @property
    def series(self) -> list[str]:
        """The names that PromQL asks for."""
        return [self.name + ending for ending in ENDINGS[self.kind]]


def registries() -> dict[str, CollectorRegistry]:
    """The meters of every process, as it makes them when it starts."""
    from gateway.metrics import Metrics as Gateway  # noqa: PLC0415 - heavy, as those below
    from inference_service.buffer import Intake  # noqa: PLC0415
    from inference_service.metrics import Metrics as Inference  # noqa: PLC0415
    from inference_service.publishers.memory import MemoryPublisher  # noqa: PLC0415
    from quality.metrics import Metrics as Quality  # noqa: PLC0415
    from streaming.lake.maintenance.metrics import Metrics as Maintenance  # noqa: PLC0415
    from streaming.metrics import Metrics as Streams  # noqa: PLC0415

    inference, minute = Inference(), timedelta(minutes=1)
    inference.watch(Intake({}, 1), MemoryPublisher())
    return {
        "gateway": Gateway(()).registry,
        "streams": Streams(()).registry,
        "inference": inference.registry,
        "quality": Quality(minute).registry,
        "maintenance": Maintenance(minute).registry,
    }


def meters(registry: CollectorRegistry) -> Iterator[Meter]:
    """Those of ours in a registry, by name."""
    families = {
        family.name: (family, getattr(made, "_labelnames", getattr(family, "_labelnames", ())))
        for made in registry._collector_to_names  # its families do not know their labels
        for family in made.collect()
    }
    for name, (family, labels) in sorted(families.items()):
        if name.startswith("storelake_"):
            yield Meter(name, family.type, tuple(labels), family.documentation)


def metrics_page() -> str:
    """The page, but for the line that says where it comes from."""
    lines = [HEAD]
    for process, registry in registries().items():
        rows = [
            (
                f"`{meter.name}{'_total' if meter.kind == 'counter' else ''}`",
                meter.kind,
                ", ".join(f"`{label}`" for label in meter.labels),
                meter.says,
            )
            for meter in meters(registry)
        ]
        lines += [f"## {process}", "", f"{PORTS[process]}.", ""]
        lines += [*grid(("name", "kind", "labels", "what"), rows), ""]
    return "\n".join(lines)
