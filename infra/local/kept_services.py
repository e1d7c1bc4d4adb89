"""The services of a deployment as the supervisor process keeps them running."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

from conf.settings import Settings
from infra.local.kafka import KafkaService
from infra.local.locks import exclusive
from infra.local.minio import MinioService
from infra.local.passwords import with_known_secrets, with_secrets
from infra.local.postgres import PostgresService
from infra.local.pulsar import PulsarService
from infra.local.service import Service
from infra.local.trino import TrinoService

LOCK_SECONDS = 900.0
"""As long as an `up` may hold the lock that downloads first."""


class KeptService:
    """A service that is started again when it died, and killed when it does not answer.

    Args:
        settings: of the deployment; secrets are read from its file at each start.
        make: the class of the service.
        cancel: ends a start that is under way.
    """

    def __init__(
        self, settings: Settings, make: Callable[[Settings, Event], Service], cancel: Event
    ) -> None:
        self._settings, self._make, self._cancel = settings, make, cancel
        service = make(settings, cancel)
        self.name, self.daemon = service.name, service.daemon

    def launch(self) -> None:
        """Start it, unless a command has done so; returns before it is ready.

        Raises:
            ServiceError: a port is taken, a preparation failed, or another command is busy.
        """
        lock = self._settings.var_dir / "run" / "up.lock"
        with exclusive(lock, "the services", LOCK_SECONDS, self._cancel):
            if self.daemon.recover() is None:
                service = self._make(with_secrets(self._settings), self._cancel)
                service.stop()  # also waits for the rest of a process that was killed
                service.start()

    def silent(self) -> bool:
        """Whether it does not answer at all; takes a few seconds at most."""
        return self._make(with_known_secrets(self._settings), self._cancel).silent()


def kept_services(settings: Settings, cancel: Event) -> list[KeptService]:
    """All services that can run here; commands choose which of them shall."""
    classes = (KafkaService, PostgresService, PulsarService, MinioService, TrinoService)
    return [KeptService(settings, make, cancel) for make in classes]
