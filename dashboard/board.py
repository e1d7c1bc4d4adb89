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
from typing import Any

import psycopg
from psycopg_pool import PoolTimeout

from conf.errors import first_line
from conf.settings import Settings
from conf.stores import Stores
from dashboard.queries import EVERY, QUERIES
from dashboard.reader import ReadSnapshot
from dashboard.streams import Ends, Reported, read_reported
from streaming.registry import STREAMS

log = logging.getLogger(__name__)
KAFKA_EVERY = 4.0  # seconds


class ReadError(Exception):
    """Why a query has no rows: one sentence."""


@dataclass(frozen=True)
class Snapshot:
    """Rows of all queries at one time.

    Attributes:
        settings: of the console.
        stores: whose branches, cameras and zones.
        at: by the clock of the database, UTC.
        answers: name of a query -> its rows, or why there are none.
        ends: end positions of the topics; an error where Kafka does not answer.
        reported: status reported by the Spark application; None while none runs.
    """

    settings: Settings
    stores: Stores
    at: datetime
    answers: Mapping[str, list[Any] | ReadError]
    ends: Ends | ReadError = field(default_factory=dict)
    reported: Reported | None = None

    def rows(self, query: str) -> list[Any]:
        """The rows of one query, as named tuples.

        Raises:
            ReadError: they cannot be read.
        """
        found = self.answers[query]
        if isinstance(found, ReadError):
            raise found.with_traceback(None)
        return found


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


class Board:
    """The newest view, renewed on request when it is too old.

    Args:
        settings: how often.
        stores: whose branches, cameras and zones.
        look: opens a snapshot of the database.
        ends: end positions of the topics; raises `OSError` where Kafka does not answer.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        look: Callable[[], AbstractContextManager[ReadSnapshot]],
        ends: Callable[[], Ends],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings, self.stores = settings, stores
        self.view = BoardView()
        self._look, self._ends, self._clock = look, ends, clock
        self._parameters = parameters(settings, stores)
        self._lock = threading.Lock()
        self._looked = float("-inf")
        self._kept: dict[str, tuple[float, Any]] = {}

    def fresh(self) -> BoardView:
        """The view, at most `console.refresh_seconds` old. Blocks; call it from a thread."""
        with self._lock:
            # A little less, or a browser that polls on time would see every second view twice.
            if self._clock() - self._looked >= 0.9 * self.settings.console.refresh_seconds:
                self.view = self._renewed()
                self._looked = self._clock()
            return self.view

    def use(self, stores: Stores) -> None:
        """Show other stores from the next view on."""
        with self._lock:
            self.stores, self._parameters = stores, parameters(self.settings, stores)
            self._looked = float("-inf")

    def glance(self) -> BoardView:
        """The last view without a query; an empty one when it is too old to show."""
        is_young = self._clock() - self._looked <= 2 * self.settings.console.refresh_seconds
        return self.view if is_young else BoardView()

    def _renewed(self) -> BoardView:
        try:
            snapshot = self._read()
        except (psycopg.OperationalError, PoolTimeout) as error:
            since = self.view.away.since if self.view.away else datetime.now(timezone.utc)
            if self.view.away is None:
                log.warning("the database does not answer: %s", first_line(error))
            return BoardView(self.view.snapshot, Away(since, first_line(error)))
        if self.view.away is not None:
            log.warning("the database answers again")
        return BoardView(snapshot)

    def _read(self) -> Snapshot:
        with self._look() as look:
            answers = {
                name: self._every(EVERY.get(name, 0.0), name, lambda name: self._ask(look, name))
                for name in QUERIES
            }
            ends = self._every(KAFKA_EVERY, "kafka", lambda _: self._topic_ends())
            reported = read_reported(self.settings.var_dir)
            return Snapshot(self.settings, self.stores, look.at, answers, ends, reported)

    def _ask(self, look: ReadSnapshot, name: str) -> list[Any] | ReadError:
        try:
            return look.ask(QUERIES[name], self._parameters)
        except psycopg.errors.QueryCanceled:
            timeout = self.settings.console.query_timeout.total_seconds()
            return ReadError(f"{name} did not answer within {timeout:g} s")
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedTable) as error:
            return ReadError(f"{first_line(error)}: run `storelake migrate`")
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            log.warning("%s cannot be read: %s", name, error)
            return ReadError(first_line(error))

    def _topic_ends(self) -> Ends | ReadError:
        try:
            return self._ends()
        except OSError as error:
            return ReadError(str(error))

    def _every(self, seconds: float, name: str, read: Callable[[str], Any]) -> Any:
        """The last answer while it is younger than `seconds`; an error is never reused."""
        now = self._clock()
        kept = self._kept.get(name)
        if kept is None or now - kept[0] >= seconds or isinstance(kept[1], ReadError):
            kept = self._kept[name] = (now, read(name))
        return kept[1]


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
    lists = {
        "branches": [{"branch_id": b.branch_id, "timezone": b.timezone} for b in stores.branches],
        "cameras": [{"branch_id": b.branch_id, "camera_id": c.camera_id} for b, c in cameras],
        "queues": [{"branch_id": b, "camera_id": c, "zone_id": z} for b, c, z in sorted(queues)],
    }
    return {
        **{name: json.dumps(rows) for name, rows in lists.items()},
        "stuck_after": settings.streams.status_stuck_after,
        "streams": [stream.name for stream in STREAMS],
    }
