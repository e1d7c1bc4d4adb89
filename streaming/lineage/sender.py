"""Sends OpenLineage events to a file or an endpoint, never for longer than a few seconds."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter

from conf.errors import first_line
from conf.settings import SettingsError
from conf.settings.operation import LineageSettings

if TYPE_CHECKING:
    from openlineage.client.event_v2 import RunEvent
    from openlineage.client.transport import Transport

log = logging.getLogger("storelake.lineage")

TIMEOUT_SECONDS = 5.0


class LineageSender:
    """Sends events at most once: what cannot be sent is dropped and counted.

    Every event has all datasets of its job, so one that arrives later makes up for it.

    Args:
        settings: with the file or the endpoint.
        registry: gets the counter of events.

    Raises:
        SettingsError: the extra `lineage` is not installed, or the file has no folder.
    """

    def __init__(self, settings: LineageSettings, registry: CollectorRegistry) -> None:
        if find_spec("openlineage") is None:
            raise SettingsError("lineage needs openlineage: install storelake[lineage]")
        self._transport = _transport(settings)
        self._failing = False
        self._events = lineage_counter(registry)

    def send(self, events: Sequence[RunEvent]) -> None:
        """Send events in their order; after one that fails, the others are dropped, too."""
        for number, event in enumerate(events):
            try:
                self._transport.emit(event)
            except Exception as error:  # whatever it is: lineage must not stop its job
                self._events.labels("dropped").inc(len(events) - number)
                if not self._failing:
                    log.warning("lineage events are dropped: %s", first_line(error))
                self._failing = True
                return
            self._events.labels("sent").inc()
        if self._failing and events:
            log.info("lineage events are sent again")
        self._failing = False


def lineage_counter(registry: CollectorRegistry) -> Counter:
    """The counter of events, where lineage is on."""
    text = "OpenLineage events, sent or dropped; where lineage is on."
    events = Counter("storelake_lineage_events", text, ("outcome",), registry=registry)
    for outcome in ("sent", "dropped"):
        events.labels(outcome)
    return events


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"lineage.file: {folder} cannot be made ({error.strerror})") from error


def _transport(settings: LineageSettings) -> Transport:
    from openlineage.client.transport import file, http  # noqa: PLC0415 - half a second

    if settings.file is not None:
        _make_folder(settings.file.parent)
        return file.FileTransport(file.FileConfig(str(settings.file), append=True))
    key = settings.api_key.get_secret_value() if settings.api_key else ""
    auth = http.ApiKeyTokenProvider({"apiKey": key}) if key else http.TokenProvider({})
    retry = {"total": 0}
    url = str(settings.url)
    return http.HttpTransport(http.HttpConfig(url, timeout=TIMEOUT_SECONDS, auth=auth, retry=retry))
