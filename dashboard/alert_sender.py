"""Sends alerts to the receivers while the console runs, whether or not a browser is open."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

from conf.settings import Settings, SettingsError
from conf.stores import load_stores
from dashboard.alert_log import AlertLog, Notice
from dashboard.alert_receivers import DeliveryError, Receiver, receivers
from dashboard.alerts import Alert, make_alert, open_alerts
from dashboard.board import Board, BoardView
from dashboard.reader import Reader
from dashboard.streams import Topics
from infra.local.state_files import UnreadableStateError, read_state, write_state

log = logging.getLogger(__name__)
CHECK_SECONDS = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0
"""Seconds between two attempts."""


class AlertSender:
    """A task that reads, and one task a receiver, so that none waits for another.

    Args:
        look: the present view; it blocks, so it runs in a thread.
        receivers: who gets the alerts.
        alert_log: what they have; continued from `file`.
        file: keeps it over restarts, so that nothing is sent again.
        seconds: between two looks.
        pause: seconds before the second attempt; each failure doubles it.
    """

    def __init__(
        self,
        look: Callable[[], BoardView],
        receivers: Sequence[Receiver],
        alert_log: AlertLog,
        file: Path,
        *,
        seconds: float = CHECK_SECONDS,
        pause: float = FIRST_PAUSE,
    ) -> None:
        self._look, self._receivers, self._log = look, receivers, alert_log
        self._file, self._seconds, self._pause = file, seconds, pause
        self._kept: object = None
        self._looked, self._writing = asyncio.Event(), asyncio.Lock()

    async def run(self) -> None:
        """Read and send until cancelled."""
        self._load()
        await asyncio.gather(self._watch(), *(self._serve(one) for one in self._receivers))

    async def _watch(self) -> None:
        while True:
            try:
                alerts = open_alerts(await asyncio.to_thread(self._look))
                self._log.observe(alerts, _now())
                self._looked.set()
                await self._keep()
            except Exception:
                log.exception("alerts cannot be read")
            await asyncio.sleep(self._seconds)

    async def _serve(self, receiver: Receiver) -> None:
        pause = self._pause
        await self._looked.wait()
        while True:
            if await self._deliver(receiver, pause):
                pause = self._pause
                await asyncio.sleep(self._seconds)
            else:
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    async def _deliver(self, receiver: Receiver, pause: float) -> bool:
        """Send what is due; False when it is still due afterwards."""
        notices = self._log.due(receiver.name, _now())
        if not notices:
            return True
        try:
            await receiver.deliver(notices)
        except DeliveryError as error:
            why = "alerts do not reach the %s: %s; again in %.0f s"
            log.warning(why, receiver.name, error, pause)
            return False
        except Exception:
            log.exception("alerts do not reach the %s; again in %.0f s", receiver.name, pause)
            return False
        self._log.sent(receiver.name, notices, _now())
        await self._keep()
        return True

    def _load(self) -> None:
        try:
            if state := read_state(self._file):
                self._log.load(state, _now())
        except (UnreadableStateError, ValueError, TypeError, KeyError, AttributeError) as error:
            log.warning("%s cannot be used, open alerts are sent again: %s", self._file, error)

    async def _keep(self) -> None:
        async with self._writing:
            state = self._log.dump()
            if state == self._kept:
                return
            self._kept = state
            try:
                await asyncio.to_thread(write_state, self._file, state)
            except OSError as error:
                log.warning("%s cannot be written: %s", self._file, error.strerror)


def _now() -> datetime:
    return datetime.now(timezone.utc)


def make_sender(settings: Settings, look: Callable[[], BoardView]) -> AlertSender | None:
    """The sender of this deployment; None without a receiver."""
    found = receivers(settings)
    names, alerts = [one.name for one in found], settings.alerts
    alert_log = AlertLog(names, alerts.hold, alerts.repeat)
    file = settings.var_dir / "run" / "alerts.json"
    return AlertSender(look, found, alert_log, file) if found else None


def read_alerts(settings: Settings) -> list[Alert]:
    """What is wrong now, read once.

    Raises:
        SettingsError: there is no password of the console's role, or the store file does not fit.
    """
    with closing(Reader(settings.console_dsn, settings.console.query_timeout)) as reader:
        stores, topics = load_stores(settings.stores_file), Topics(settings.kafka)
        return open_alerts(Board(settings, stores, reader.look, topics.ends).fresh())


def send_test(settings: Settings) -> list[tuple[str, DeliveryError | None]]:
    """Send `TestAlert` to every receiver; each with its error, None where it has accepted.

    Raises:
        SettingsError: no receiver is configured.
    """
    found = receivers(settings)
    if not found:
        raise SettingsError(
            "No receiver of alerts is configured: set STORELAKE_ALERTS__WEBHOOK_URL, or "
            "STORELAKE_ALERTS__EMAIL_TO and __SMTP_HOST."
        )
    alert = make_alert("TestAlert", "test", "This is a test of the way that alerts take.")
    notices = [Notice(alert, _now())]

    async def deliver(receiver: Receiver) -> DeliveryError | None:
        try:
            await receiver.deliver(notices)
        except DeliveryError as error:
            return error
        return None

    async def deliver_all() -> list[DeliveryError | None]:
        return await asyncio.gather(*map(deliver, found))

    return list(zip([one.name for one in found], asyncio.run(deliver_all()), strict=True))
