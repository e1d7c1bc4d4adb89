"""One view of all data, shared by all open pages.

However many pages are open, the database is queried once for all of them; and not at all while
none is open.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timezone
from typing import Any

import psycopg
from psycopg_pool import PoolTimeout

from conf.errors import first_line
from conf.settings import Settings
from conf.stores import Stores
from conf.stores.watch import StoreFile
from dashboard.processes import read_absent
from dashboard.queries import DAY_EVERY, EVERY, OF_A_DAY, QUERIES, parameters
from dashboard.reader import ReadSnapshot
from dashboard.roster import RosterError, RosterLine, read_roster
from dashboard.streams import Ends, Reported, read_reported

log = logging.getLogger(__name__)
KAFKA_EVERY, ROSTER_EVERY = 4.0, 10.0  # seconds
DAYS_KEPT = 50


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
        roster: who works when; None without a roster, an error where it cannot be used.
        day: the day shown, in the past; None: today of each branch.
        absent: programs that should run and do not -> how each ended last.
    """

    settings: Settings
    stores: Stores
    at: datetime
    answers: Mapping[str, list[Any] | ReadError]
    ends: Ends | ReadError = field(default_factory=dict)
    reported: Reported | None = None
    roster: Sequence[RosterLine] | ReadError | None = None
    day: date | None = None
    absent: Mapping[str, str] = field(default_factory=dict)

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
    """What pages show: the newest snapshot, and whether it is the present.

    Attributes:
        past: the snapshot with the figures of a day in the past, where a page shows one.
    """

    snapshot: Snapshot | None = None
    away: Away | None = None
    past: Snapshot | None = None


class Board:
    """The newest view, renewed on request when it is too old.

    Args:
        settings: how often.
        stores: whose branches, cameras and zones.
        look: opens a snapshot of the database.
        ends: end positions of the topics; raises `OSError` where Kafka does not answer.
        clock: monotonic seconds.
        file: where `stores` come from; read again when it changes.
    """

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        look: Callable[[], AbstractContextManager[ReadSnapshot]],
        ends: Callable[[], Ends],
        *,
        clock: Callable[[], float] = time.monotonic,
        file: StoreFile | None = None,
    ) -> None:
        self.settings, self.stores, self._file = settings, stores, file
        self.view = BoardView()
        self._look, self._ends, self._clock = look, ends, clock
        self._lock = threading.Lock()
        self._looked = float("-inf")
        self._kept: dict[str, tuple[float, Any]] = {}
        self._days: dict[date, tuple[float, dict[str, Any]]] = {}

    def fresh(self) -> BoardView:
        """The view, at most `console.refresh_seconds` old. Blocks; call it from a thread."""
        every = self.settings.console.refresh_seconds
        with self._lock:
            passed = self._clock() - self._looked
            if passed > 2 * every:  # nobody has looked: a page that is opened now reads everything
                self._kept.clear()
                self._days.clear()
            # A little less, or a browser that polls on time would see every second view twice.
            if passed >= 0.9 * every:
                self.view = self._renewed()
                self._looked = self._clock()
            return self.view

    def use(self, stores: Stores) -> None:
        """Show other stores from the next view on."""
        with self._lock:
            self.stores = stores
            self._looked = float("-inf")

    def glance(self) -> BoardView:
        """The last view without a query; an empty one when it is too old to show."""
        is_young = self._clock() - self._looked <= 2 * self.settings.console.refresh_seconds
        return self.view if is_young else BoardView()

    def on(self, day: date) -> BoardView:
        """The view with the figures of a day in the past, which are at most `DAY_EVERY` old.

        Without `past` while the database is away.
        """
        view = self.fresh()
        if view.snapshot is None or view.away:
            return view
        with self._lock:
            answers = {**view.snapshot.answers, **self._answers_of(day)}
        return replace(view, past=replace(view.snapshot, day=day, answers=answers))

    def _answers_of(self, day: date) -> dict[str, Any]:
        """Answers without an error are kept, those of the latest `DAYS_KEPT` days."""
        now = self._clock()
        read_at, answers = self._days.pop(day, (0.0, {}))
        if not answers or now - read_at >= DAY_EVERY:
            read_at, answers = now, self._read_day(day)
        if not any(isinstance(one, ReadError) for one in answers.values()):
            self._days[day] = (read_at, answers)
        while len(self._days) > DAYS_KEPT:
            del self._days[next(iter(self._days))]
        return answers

    def _read_day(self, day: date) -> dict[str, Any]:
        try:
            with self._look() as look:
                values = self._parameters(look, day)
                return {name: self._ask(look, name, values) for name in OF_A_DAY}
        except (psycopg.OperationalError, PoolTimeout) as error:
            return dict.fromkeys(OF_A_DAY, ReadError(first_line(error)))

    def _renewed(self) -> BoardView:
        if self._file is not None and self._file.reload():
            self.stores = self._file.stores
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
            values = self._parameters(look)
            answers = {
                name: self._every(
                    EVERY.get(name, 0.0), name, lambda name: self._ask(look, name, values)
                )
                for name in QUERIES
            }
            ends = self._every(KAFKA_EVERY, "kafka", lambda _: self._topic_ends())
            here = self.settings.var_dir
            roster = self._every(ROSTER_EVERY, "roster", lambda _: self._roster())
            seen = (self.settings, self.stores, look.at, answers, ends)
            return Snapshot(*seen, read_reported(here), roster, absent=read_absent(here))

    def _parameters(self, look: ReadSnapshot, day: date | None = None) -> dict[str, Any]:
        return {**parameters(self.settings, self.stores, look.at), "day": day}

    def _ask(
        self, look: ReadSnapshot, name: str, values: Mapping[str, Any]
    ) -> list[Any] | ReadError:
        try:
            return look.ask(QUERIES[name], values)
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

    def _roster(self) -> Sequence[RosterLine] | ReadError | None:
        file = self.settings.console.roster_file
        if file is None:
            return None
        try:
            return read_roster(file, {b.branch_id for b in self.stores.branches})
        except RosterError as error:
            return ReadError(str(error))

    def _every(self, seconds: float, name: str, read: Callable[[str], Any]) -> Any:
        """The last answer while it is younger than `seconds`; an error is never reused."""
        now = self._clock()
        kept = self._kept.get(name)
        if kept is None or now - kept[0] >= seconds or isinstance(kept[1], ReadError):
            kept = self._kept[name] = (now, read(name))
        return kept[1]
