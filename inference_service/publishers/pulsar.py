"""Publishes to Pulsar: acknowledged by the broker, ordered per camera by the key."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from typing import Any

import httpx
import pulsar

from conf.settings import PulsarSettings, SettingsError
from inference_service.publishers.buffered import AwayError, RefusedError

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5
LINGER_MILLIS = 10
MOST_INT = 2**31 - 1
NEVER = (
    pulsar.AuthenticationError,
    pulsar.AuthorizationError,
    pulsar.InvalidConfiguration,
    pulsar.InvalidTopicName,
    pulsar.InvalidUrl,
    pulsar.NotAllowedError,
    pulsar.TopicNotFound,
    pulsar.TopicTerminated,
)


class PulsarEventTransport:
    """pulsar-client's producer as an `EventTransport`.

    It connects with the first event. `send_async` reports errors only to its callback, and without
    `block_if_queue_full` drops what its queue has no room for; so every result is checked, and the
    queue has room for all that `BufferedPublisher` keeps in memory: a call that blocked would keep
    the callbacks out.
    """

    def __init__(self, settings: PulsarSettings, buffer_events: int) -> None:
        self._settings, self._buffer_events = settings, buffer_events
        token = settings.token_of("cameras")
        ca = settings.tls_ca_file
        try:
            self._client = pulsar.Client(
                settings.url,
                authentication=pulsar.AuthenticationToken(token) if token else None,
                tls_trust_certs_file_path=str(ca) if ca else None,
                operation_timeout_seconds=CONNECT_SECONDS,
                connection_timeout_ms=CONNECT_SECONDS * 1000,
                logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error),
            )
        except ValueError as error:
            raise SettingsError(f"STORELAKE_PULSAR__SERVICE_URL is no address: {error}") from error
        self._producer: pulsar.Producer | None = None

    @property
    def where(self) -> str:
        """The broker and the topic."""
        return f"Pulsar at {self._settings.url}, topic {self._settings.detections}"

    def send(self, key: bytes, value: bytes, done: Callable[[str | None], None]) -> None:
        """Queue one event; see `EventTransport.send`."""

        def stored(result: pulsar.Result, _: Any) -> None:
            done(None if result == pulsar.Result.Ok else str(result))

        try:
            if self._producer is None:
                self._producer = self._connect()
            self._producer.send_async(value, stored, partition_key=key.decode())
        except NEVER as error:
            raise RefusedError(str(error)) from error
        except pulsar.PulsarException as error:
            if self._token_is_refused():
                raise RefusedError("its token is not valid there") from error
            raise AwayError(str(error)) from error

    def _token_is_refused(self) -> bool:
        """Whether the administration refuses it; the client only reports that no answer came."""
        topic = self._settings.detections.replace("://", "/")
        token, ca = self._settings.token_of("cameras"), self._settings.tls_ca_file
        try:
            response = httpx.get(
                f"{self._settings.admin}/admin/v2/{topic}/partitions",
                headers={"Authorization": f"Bearer {token}"} if token else {},
                verify=ssl.create_default_context(cafile=ca) if ca else True,
                timeout=CONNECT_SECONDS,
            )
        except httpx.HTTPError:
            return False
        return response.status_code == httpx.codes.UNAUTHORIZED

    def _connect(self) -> pulsar.Producer:
        return self._client.create_producer(
            self._settings.detections,
            send_timeout_millis=0,  # 0: never give up by itself
            block_if_queue_full=True,
            max_pending_messages=self._buffer_events + 1,
            # Of all partitions; an even share of it would bound each one further.
            max_pending_messages_across_partitions=MOST_INT,
            batching_enabled=True,
            batching_max_publish_delay_ms=LINGER_MILLIS,
        )

    def close(self) -> None:
        """Leave at once: `close` would wait for the broker."""
        self._client.shutdown()
