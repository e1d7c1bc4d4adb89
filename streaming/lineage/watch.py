"""Reports the streams of an application as OpenLineage runs, in a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry

from conf.errors import first_line
from conf.settings import Settings
from streaming.lineage.sender import LineageSender
from streaming.registry import STREAMS
from streaming.sinks.postgres import Database

log = logging.getLogger("storelake.lineage")

END_SECONDS = 3.0
"""How long the end of the application waits for the last events."""

COLUMNS_SQL = """
SELECT table_name, column_name, data_type FROM information_schema.columns
WHERE table_schema = 'public' ORDER BY table_name, ordinal_position
"""


class LineageWatch:
    """START of each stream, RUNNING every `lineage.every`, then COMPLETE or FAIL.

    Nothing that happens here stops a stream or lets it wait; a killed application sends no end.

    Args:
        settings: of the deployment.
        registry: gets the counter of events.
        streams: names of the streams of this application.
        db: for the columns of tables of Postgres.
        state: state and detail of a stream.
    """

    def __init__(
        self,
        settings: Settings,
        registry: CollectorRegistry,
        streams: Sequence[str],
        db: Database,
        state: Callable[[str], Mapping[str, Any]],
    ) -> None:
        self._settings, self._streams, self._db, self._state = settings, streams, db, state
        self._sender = LineageSender(settings.lineage, registry)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lineage", daemon=True)

    def start(self) -> None:
        """Begin to report."""
        self._thread.start()

    def stop(self) -> None:
        """Send the last events."""
        self._over.set()
        self._thread.join(END_SECONDS)

    def _run(self) -> None:
        try:
            self._report()
        except Exception as error:  # such as a database that is away: streams go on
            log.warning("no lineage: %s", first_line(error), exc_info=True)

    def _report(self) -> None:
        from openlineage.client.event_v2 import RunState  # noqa: PLC0415 - half a second

        from streaming.lineage.events import end_event, stream_run  # noqa: PLC0415

        columns = self._columns()
        entries = [one for one in STREAMS if one.name in self._streams]
        runs = [stream_run(entry, self._settings, columns) for entry in entries]
        self._sender.send([run.event(RunState.START) for run in runs])
        while not self._over.wait(self._settings.lineage.every.total_seconds()):
            self._sender.send([run.event(RunState.RUNNING) for run in runs])
        self._sender.send([end_event(run, self._state(run.name)) for run in runs])

    def _columns(self) -> dict[str, list[tuple[str, str]]]:
        columns = defaultdict(list)
        with self._db.transaction() as connection:
            for table, column, type_ in connection.execute(COLUMNS_SQL).fetchall():
                columns[table].append((column, type_))
        return columns
