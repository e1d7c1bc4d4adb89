"""When streams that share a query part: only after their sinks failed again and again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from conf.settings import Settings
from streaming.runtime import query
from streaming.runtime.failures import SinkError
from streaming.runtime.query import SPLIT_SECONDS, SharedQuery
from streaming.steps import VALIDATE_ORDERS
from streaming.stream import ORDERS, Stream


class Clock:
    """Monotonic seconds that a test sets."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def monotonic(self) -> float:
        return self.seconds

    def time(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(query, "time", made)
    monkeypatch.setattr(query, "_copy_checkpoint", lambda *_: None)
    return made


@pytest.fixture
def shared(settings: Settings, clock: Clock) -> SharedQuery:
    """One query of two streams."""
    app: Any = SimpleNamespace(
        context=SimpleNamespace(settings=settings), metrics=SimpleNamespace(failed=lambda _: None)
    )
    made = SharedQuery(
        app, [Stream(name, ORDERS, (VALIDATE_ORDERS,)) for name in ("broken", "sound")]
    )
    made.health.clock = clock.monotonic
    return made


def fails(shared: SharedQuery, clock: Clock, error: Exception, after: float) -> list[str]:
    """The names of the queries after a batch has failed and its pause is over."""
    clock.seconds += after
    ended = SimpleNamespace(isActive=False, exception=lambda: error)
    shared._query, shared._error = ended, error  # type: ignore[assignment]
    shared.watch(may_start=False)
    clock.seconds += shared.health.retry_at - clock.seconds
    return [part.name for part in shared.split()]


OF_ONE = SinkError({"broken": OSError("the disk is full")}, "order-created[0] 1")
WORKER = RuntimeError("Python worker failed to connect back")


def test_a_sink_that_keeps_failing_alone_gets_a_query_of_its_own(
    shared: SharedQuery, clock: Clock
) -> None:
    assert fails(shared, clock, OF_ONE, 0) == ["broken+sound"]
    assert fails(shared, clock, OF_ONE, SPLIT_SECONDS / 2) == ["broken+sound"]
    assert fails(shared, clock, OF_ONE, SPLIT_SECONDS / 2) == ["broken", "sound"]


@pytest.mark.parametrize("then", [None, WORKER], ids=["it waits to start", "something else fails"])
def test_one_failure_of_a_sink_parts_nothing_however_long_the_query_is_away(
    shared: SharedQuery, clock: Clock, then: Exception | None
) -> None:
    assert fails(shared, clock, OF_ONE, 0) == ["broken+sound"]
    if then:
        assert fails(shared, clock, then, SPLIT_SECONDS) == ["broken+sound"]
    clock.seconds += 10 * SPLIT_SECONDS
    assert [part.name for part in shared.split()] == ["broken+sound"]
    if then:
        assert fails(shared, clock, OF_ONE, 0) == ["broken+sound"]
