"""What Prometheus reads at `/metrics`. Labels hold names of ours only, never what a client sent."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Paths that no route has count as one, else anyone could make series without end.
NO_ROUTE = "none"


class GatewayMetrics:
    """The meters of one application, in a registry of their own."""

    def __init__(self, topics: Iterable[str]) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._requests = Counter(
            "storelake_gateway_requests",
            "Requests answered.",
            ("route", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "storelake_gateway_request_seconds",
            "From the head of a request to the end of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.in_flight = Gauge(
            "storelake_gateway_requests_in_flight", "Requests under way.", registry=registry
        )
        self._events = Counter(
            "storelake_gateway_events",
            "Events by what became of them: accepted, repeated, or the name of the rejection.",
            ("topic", "outcome"),
            registry=registry,
        )
        self._bytes = Counter(
            "storelake_gateway_event_bytes",
            "Bytes of accepted events, as they were received.",
            ("topic",),
            registry=registry,
        )
        self.ack_seconds = Histogram(
            "storelake_gateway_ack_seconds",
            "From handing over the events of a request to the broker's last acknowledgement.",
            buckets=_SECONDS,
            registry=registry,
        )
        for topic in topics:  # series that exist from the start can be alerted on
            for outcome in ("accepted", "broker_unavailable"):
                self._events.labels(topic, outcome)
            self._bytes.labels(topic)

        # Looking up a child costs more than counting, and there are few of them.
        self._request = cache(self._requests.labels)
        self._duration = cache(self._seconds.labels)
        self._event = cache(self._events.labels)
        self._byte = cache(self._bytes.labels)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """One request is over."""
        self._request(route, str(status)).inc()
        self._duration(route).observe(seconds)

    def events(self, topic: str, outcome: str, count: int = 1) -> None:
        """So many events of one route came to this."""
        self._event(topic, outcome).inc(count)

    def bytes_accepted(self, topic: str, count: int) -> None:
        """So many bytes are on a topic now."""
        self._byte(topic).inc(count)

    def text(self) -> bytes:
        """All series, in the text format of Prometheus."""
        return generate_latest(self.registry)
