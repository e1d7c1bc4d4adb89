"""One view of all data, shared by all open pages.

However many pages are open, the database is queried once for all of them; and not at all while
none is open.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Protocol, TypeVar, cast

import psycopg
from psycopg_pool import PoolTimeout

from conf.errors import first_line
from conf.settings import Settings
from conf.stores import Stores
from dashboard.queries import QUERIES, Query, Row
from dashboard.streams import Ends, Reported, read_reported
from streaming.registry import STREAMS

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class ReadFault:
    """Why a query has no rows: one sentence."""

    reason: str


@dataclass(frozen=True)
class Snapshot:
    """Rows of all queries at one time.

    Attributes:
        at: by the clock of the database, UTC.
        ends: end positions of the topics; a fault where Kafka does not answer.
        reported: status reported by the Spark application; None while none runs.
    """

    at: datetime
    answers: Mapping[str, list[Any] | ReadFault]
    ends: Ends | ReadFault = field(default_factory=dict)
    reported: Reported | None = None

    def rows(self, query: Query[Row]) -> list[Row] | ReadFault:
        """The rows of one query."""
        return cast("list[Row] | ReadFault", self.answers[query.name])


@dataclass(frozen=True)
class Away:
    """Since when (UTC) the database does not answer, and the error."""

    since: datetime
    reason: str


@dataclass(frozen=True)
class BoardView:
    """What pages show: the newest snapshot, and whether it is the present."""

    snapshot: Snapshot | None = None
    away: Away | None = None


class Asked(Protocol):
    """A look at the database: `reader.Look`."""

    at: datetime

    def ask(self, query: Query[Row], parameters: Mapping[str, Any]) -> list[Row]:
        """The rows of an answer."""


class Board:
    """The newest view, renewed on request when it is too old.

    Args:
        settings: how often.
        stores: whose branches, cameras and zones.
        look: opens a look at the database.
        ends: end positions of the topics; raises `OSError` where Kafka does not answer.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        look: Callable[[], AbstractContextManager[Asked]],
        ends: Callable[[], Ends],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings, self.stores = settings, stores
        self.view = BoardView()
        self._look, self._ends, self._clock = look, ends, clock
        self._parameters = parameters(settings, stores)
        self._lock = threading.Lock()
        self._looked = float("-inf")
        self._kept: dict[str, tuple[float, list[Any] | ReadFault]] = {}

    def fresh(self) -> BoardView:
        """The view, at most `console.refresh_seconds` old. Blocks; call it from a thread."""
        with self._lock:
            # A little less, or a browser that polls on time would see every second view twice.
            if self._clock() - self._looked >= 0.9 * self.settings.console.refresh_seconds:
                self.view = self._renewed()
                self._looked = self._clock()
            return self.view

    def glance(self) -> BoardView:
        """The last view without a query; an empty one when it is too old to show."""
        is_young = self._clock() - self._looked <= 2 * self.settings.console.refresh_seconds
        return self.view if is_young else BoardView()

    def _renewed(self) -> BoardView:
        try:
            with self._look() as look:
                answers = {query.name: self._answer(look, query) for query in QUERIES}
                snapshot = Snapshot(
                    look.at,
                    answers,
                    self._slow("kafka", 4.0, self._topic_ends),
                    read_reported(self.settings.var_dir),
                )
        except (psycopg.OperationalError, PoolTimeout) as error:
            since = self.view.away.since if self.view.away else datetime.now(timezone.utc)
            if self.view.away is None:
                log.warning("the database does not answer: %s", first_line(error))
            return BoardView(self.view.snapshot, Away(since, first_line(error)))
        if self.view.away is not None:
            log.warning("the database answers again")
        return BoardView(snapshot)

    def _answer(self, look: Asked, query: Query[Any]) -> list[Any] | ReadFault:
        return self._slow(query.name, query.every, lambda: self._asked(look, query))

    def _asked(self, look: Asked, query: Query[Any]) -> list[Any] | ReadFault:
        try:
            return look.ask(query, self._parameters)
        except psycopg.errors.QueryCanceled:
            patience = self.settings.console.query_timeout.total_seconds()
            return ReadFault(f"{query.name} did not answer within {patience:g} s")
        except psycopg.errors.InsufficientPrivilege as error:
            return ReadFault(f"{first_line(error)}: run `storelake migrate`")
        except psycopg.errors.UndefinedTable as error:
            return ReadFault(f"{first_line(error)}: run `storelake migrate`")
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            log.warning("%s cannot be read: %s", query.name, error)
            return ReadFault(first_line(error))

    def _topic_ends(self) -> Ends | ReadFault:
        try:
            return self._ends()
        except OSError as error:
            return ReadFault(str(error))

    def _slow(self, name: str, every: float, ask: Callable[[], T | ReadFault]) -> T | ReadFault:
        """The last answer while it is younger than `every` seconds; a fault is never reused."""
        now = self._clock()
        kept = self._kept.get(name)
        if kept is None or now - kept[0] >= every or isinstance(kept[1], ReadFault):
            kept = self._kept[name] = (now, cast("list[Any] | ReadFault", ask()))
        return cast("T | ReadFault", kept[1])


def parameters(settings: Settings, stores: Stores) -> dict[str, Any]:
    """Parameters of the queries: all branches, cameras and queues of the store file."""
    cameras = [(branch, camera) for branch in stores.branches for camera in branch.cameras]
    queues = {
        (branch.branch_id, camera.camera_id, zone.zone_id)
        for branch, camera in cameras
        for layout in stores.layouts(camera)
        for zone in layout.zones
        if zone.kind == "queue"
    }
    return {
        "branches": json.dumps(
            [{"branch_id": b.branch_id, "timezone": b.timezone} for b in stores.branches]
        ),
        "cameras": json.dumps(
            [{"branch_id": b.branch_id, "camera_id": c.camera_id} for b, c in cameras]
        ),
        "queues": json.dumps(
            [{"branch_id": b, "camera_id": c, "zone_id": z} for b, c, z in sorted(queues)]
        ),
        "stuck_after": settings.streams.status_stuck_after,
        "streams": [stream.name for stream in STREAMS],
    }
