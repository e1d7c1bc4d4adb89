"""Redrives of the console: one at a time, in a thread, so that no request waits for Kafka.

Delivery guarantee: that of `streaming.sinks.redrive`. A console that ends stops between two chunks;
what is not sent is still open.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, replace

from conf.errors import StorelakeError
from conf.settings import Settings
from streaming.dlq_ids import DlqError
from streaming.sinks.dlq_entries import Selection
from streaming.sinks.dlq_store import open_dead_letters
from streaming.sinks.redrive import Redriver, RedriveReport

END_SECONDS = 2.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RedriveState:
    """The newest redrive of this console.

    Attributes:
        actor: who started it.
        subject: what is redriven, for people.
        total: number of dead letters; 0 until they are read.
        done: how many of them were sent or refused.
        running: whether it still runs.
        error: why it stopped early; None where it did not.
        report: what was sent and what was refused; None until it ends well.
    """

    actor: str
    subject: str
    total: int = 0
    done: int = 0
    running: bool = True
    error: str | None = None
    report: RedriveReport | None = None


class Redrives:
    """Starts redrives and keeps the state of the newest one.

    Args:
        settings: of the deployment.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.state: RedriveState | None = None

    def start(self, actor: str, subject: str, selection: Selection, confirmed: int) -> None:
        """Begin to redrive the selected dead letters.

        Args:
            actor: who does it.
            subject: what is redriven, for people.
            selection: of open ones.
            confirmed: number of dead letters that the operator has seen; of more, none is sent.

        Raises:
            DlqError: another redrive runs.
        """
        with self._lock:
            if self.state is not None and self.state.running:
                raise DlqError("Another redrive runs: wait until it ends, then repeat.")
            self.state = RedriveState(actor, subject)
            arguments = (selection, confirmed)
            self._thread = threading.Thread(target=self._run, args=arguments, daemon=True)
            self._thread.start()

    def wait(self, seconds: float) -> None:
        """Wait until the redrive ends, and at most so long."""
        if self._thread is not None:
            self._thread.join(seconds)

    def close(self) -> None:
        """Stop a redrive after the dead letters that are on their way."""
        self._ending.set()
        self.wait(END_SECONDS)

    def _run(self, selection: Selection, confirmed: int) -> None:
        try:
            self._set(running=False, report=self._redrive(selection, confirmed))
        except StorelakeError as error:
            self._set(running=False, error=str(error))
        except Exception as error:
            log.exception("a redrive failed")
            self._set(running=False, error=f"it failed: {error}")

    def _redrive(self, selection: Selection, confirmed: int) -> RedriveReport:
        assert self.state is not None  # noqa: S101 - set by `start`
        with open_dead_letters(self._settings, self.state.actor) as store, store.alone():
            ids = store.ids(selection)
            self._set(total=len(ids))
            if not ids:
                raise DlqError("Nothing was sent: nothing of it is open any more.")
            if len(ids) > confirmed:
                raise DlqError(f"Nothing was sent: there are {len(ids):,} by now: confirm again.")
            return Redriver(self._settings.kafka).redrive(store, ids, self._progress)

    def _progress(self, done: int) -> None:
        self._set(done=done)
        if self._ending.is_set():
            raise DlqError("The console ended; what was not sent is still open.")

    def _set(self, **changes: object) -> None:
        assert self.state is not None  # noqa: S101 - set by `start`
        self.state = replace(self.state, **changes)  # type: ignore[arg-type] # names of fields
