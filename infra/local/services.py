"""Starts, checks and stops the local services, all of them together."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from threading import Event
from typing import Any

from conf.settings import Settings
from infra.errors import ServiceError
from infra.local.checks import require_disk
from infra.local.kafka import KafkaService
from infra.local.minio import MinioService
from infra.local.passwords import with_known_secrets, with_local_key, with_secrets
from infra.local.places import Places, server_account
from infra.local.postgres import PostgresService
from infra.local.process import POLL_SECONDS, wait_until
from infra.local.provision import provision
from infra.local.pulsar import PulsarService
from infra.local.service import Service, ServiceStatus, services_lock
from infra.local.tool import Report
from infra.local.trino import TrinoService

START_SECONDS = 120.0  # Pulsar, on a machine that is busy
GRACE_SECONDS = 10.0
LOCK_SECONDS = 120.0
SERVICES: tuple[type[Service[Any]], ...] = (
    KafkaService,
    PostgresService,
    PulsarService,
    MinioService,
    TrinoService,
)
DATA_FOLDERS = (
    "kafka",
    "pulsar",
    "postgres",
    "minio",
    "trino",
    "warehouse",
    "delta",
    "checkpoints",
    "quarantine",
    "scratch",
    "spool",
)


def silent(_: str) -> None:
    """A report that nobody reads."""


def all_services(settings: Settings, cancel: Event, report: Report = silent) -> list[Service[Any]]:
    """Everything that can run here, in the order of its table."""
    return [make(settings, cancel, report) for make in SERVICES]


def services(
    settings: Settings, cancel: Event | None = None, report: Report = silent
) -> list[Service[Any]]:
    """The services of this deployment: those that the settings want, and what still runs."""
    wanted = {
        "kafka": True,
        "postgres": True,
        "pulsar": settings.wants_pulsar,
        "minio": settings.bucket is not None,
        "trino": settings.trino.enabled,
    }
    known = all_services(settings, cancel or Event(), report)
    return [one for one in known if wanted[one.name] or one.daemon.find() is not None]


def up(settings: Settings, report: Report = silent) -> list[ServiceStatus]:
    """Start what does not run yet, then make topics and tables.

    A healthy service is left alone, so this can be called at any time. What was started continues
    when the calling process ends. When anything fails, or on Ctrl-C, the services that this call
    started are stopped again.

    Returns:
        The state of each service.

    Raises:
        ServiceError: with the reason and the next step.
    """
    with started(settings, report) as ready:
        return [service.status() for service in services(ready)]


@contextmanager
def started(
    settings: Settings, report: Report = silent, *, keep: bool = True
) -> Iterator[Settings]:
    """As `up`, for who continues from there; yields the settings with the secrets of the services.

    An error or Ctrl-C in the block undoes the start, and without `keep` its end does.
    """
    with _lock(settings):
        ready, begun = _up(settings, report)
    try:
        yield ready
    except BaseException:
        keep = False
        report("stopping what was started")
        raise
    finally:
        if not keep:
            with _lock(settings):
                _stop(begun)


def running(settings: Settings, report: Report = silent) -> AbstractContextManager[Settings]:
    """`started` for the length of a block: services that ran before continue afterwards."""
    return started(settings, report, keep=False)


def down(settings: Settings) -> list[str]:
    """Stop the services that we started; returns the names of those that ran."""
    with _lock(settings):
        return _stop(services(settings))


def status(settings: Settings) -> list[ServiceStatus]:
    """How each service is doing."""
    return [service.status() for service in services(with_known_secrets(settings))]


def reset(settings: Settings, more: Sequence[str] = ()) -> list[Path]:
    """Stop the services and delete all data below `var`: topics, tables, files, checkpoints.

    Secrets, logs, and data on external servers are kept.

    Returns:
        What was deleted.

    Raises:
        ServiceError: a folder cannot be deleted.
    """
    folders = [settings.var_dir / name for name in (*DATA_FOLDERS, *more)]
    with _lock(settings):
        _stop(services(settings))
        present = [folder for folder in folders if folder.exists()]
        try:
            Places(settings.var_dir / "postgres", server_account()).delete_outside()
            for folder in present:
                shutil.rmtree(folder)
        except OSError as error:
            raise ServiceError(
                f"{error.filename} cannot be deleted ({error.strerror}): run `storelake reset` as "
                "the user that ran `storelake up`."
            ) from error
    return present


def _up(settings: Settings, report: Report) -> tuple[Settings, list[Service[Any]]]:
    """Bring everything up; returns the settings with the secrets, and what was started."""
    require_disk(settings.var_dir)
    ready = with_secrets(settings)
    cancel = Event()
    started: list[Service[Any]] = []
    try:
        _start_all(services(ready, cancel, report), started, cancel)
        provision(ready, report)
        ready = with_local_key(ready)
    except BaseException:
        # Also on Ctrl-C: the threads end first, or one could start a service behind our back.
        cancel.set()
        report("stopping what was started")
        _stop(started)
        raise
    return ready, started


def _start_all(wanted: Sequence[Service[Any]], started: list[Service[Any]], cancel: Event) -> None:
    """Side by side, because each spends most of its start waiting."""
    with ThreadPoolExecutor(max_workers=len(wanted)) as pool:
        futures: list[Future[None]] = [
            pool.submit(_bring_up, service, started, cancel) for service in wanted
        ]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        except BaseException:
            cancel.set()  # Leaving the block waits for the threads, which look at this.
            raise


def _bring_up(service: Service[Any], started: list[Service[Any]], cancel: Event) -> None:
    if service.external or service.ready():
        return
    if service.status().pid is not None:
        # Perhaps still on its way up, from a command that was killed; else it hangs.
        wait_until(lambda: cancel.is_set() or service.ready(), GRACE_SECONDS)
        if service.ready():
            return
    if cancel.is_set():
        return
    service.stop()  # Also waits for the rest of a process that was killed a moment ago.
    service.start()
    started.append(service)
    _wait_ready(service, cancel)


def _wait_ready(service: Service[Any], cancel: Event) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not cancel.is_set():
        state = service.status()
        if state.state == "running":
            return
        if state.state == "stopped":
            lines = "\n  ".join(service.last_lines()) or "(its log is empty)"
            raise ServiceError(
                f"{service.name} ended right after its start; fix the cause in its log, then run "
                f"`storelake up` again. The last lines (more with `storelake logs {service.name}`):"
                f"\n  {lines}"
            )
        if time.monotonic() > deadline:
            raise ServiceError(
                f"{service.name} did not answer at {state.address} within {START_SECONDS:.0f} s "
                f"({state.detail}): see `storelake logs {service.name}`."
            )
        time.sleep(POLL_SECONDS)


def _stop(wanted: Sequence[Service[Any]]) -> list[str]:
    if not wanted:
        return []
    with ThreadPoolExecutor(max_workers=len(wanted)) as pool:
        stopped = list(pool.map(lambda service: service.stop(), wanted))
    return [service.name for service, was in zip(wanted, stopped, strict=True) if was]


def _lock(settings: Settings) -> AbstractContextManager[None]:
    return services_lock(settings, LOCK_SECONDS)
