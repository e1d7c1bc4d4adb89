"""A fresh house beside the operator's: a folder and ports of its own, and nothing left running."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conf.errors import StorelakeError
from conf.settings import Settings, load_settings
from infra import local
from infra.local.interrupts import one_interrupt
from infra.local.locks import exclusive

Tell = Callable[[str], None]

METERS = ("streams", "maintenance", "quality", "inference")


@dataclass
class House:
    """Services that run.

    Attributes:
        settings: of this house, with the password of its database.
        environment: the variables that mean the same, for commands beside us.
        keep: set it, and the data stays in <var>/verify; logs always do.
    """

    settings: Settings
    environment: dict[str, str]
    keep: bool = False


@contextmanager
def fresh_house(
    base: Settings, command: str, tell: Tell, *, pulsar: bool = False
) -> Iterator[House]:
    """Kafka and Postgres, empty, in <var>/verify; nothing goes on afterwards, however it ends.

    Args:
        base: of the operator; only its `var_dir` is used.
        command: whose house it is, for messages.
        tell: hears what goes on.
        pulsar: Pulsar, too, and streams that read both brokers.

    Raises:
        StorelakeError: something did not come up; the data stays after any such error.
    """
    folder = base.var_dir / "verify"
    with exclusive(base.var_dir / "run" / "verify.lock", command, 0.0), one_interrupt():
        _refuse_foreign(base, command, pulsar=pulsar)
        local.reset(load_settings(var_dir=folder))
        shutil.rmtree(folder, ignore_errors=True)
        # Only now: the password that a kept house has left there would count as set by somebody.
        settings, environment = own_house(folder, pulsar=pulsar)
        house = House(settings, environment)
        try:
            with local.running(settings, tell) as house.settings:
                yield house
        except StorelakeError:
            house.keep = True
            raise
        finally:
            if not house.keep:
                local.reset(settings)


def _refuse_foreign(base: Settings, command: str, *, pulsar: bool) -> None:
    foreign = {
        "KAFKA__BOOTSTRAP_SERVERS": base.kafka.bootstrap_servers,
        "POSTGRES__LOCAL": not base.postgres.local,
        "CATALOG__WAREHOUSE": base.catalog.warehouse and not base.wants_minio,
        "CATALOG__URI": base.catalog.uri,
        "S3__ENDPOINT": base.s3.endpoint,
        "TRINO__URL": base.trino.enabled and base.trino.url,
        "PULSAR__SERVICE_URL": pulsar and base.pulsar.service_url,
    }
    if named := [f"STORELAKE_{name}" for name, value in foreign.items() if value]:
        raise StorelakeError(
            f"{command} works on local services and files of its own: unset {', '.join(named)} "
            "for it."
        )


def own_house(folder: Path, *, pulsar: bool = False) -> tuple[Settings, dict[str, str]]:
    """Settings of a house beside the operator's, and the variables that mean the same.

    Its meters are switched off, which both houses would serve at one port.
    """
    kafka, controller, postgres, gateway, broker, admin, s3, trino, page = _free_ports(9)
    tree: dict[str, dict[str, Any]] = {
        "kafka": {"port": kafka, "controller_port": controller},
        "postgres": {"port": postgres},
        "gateway": {"port": gateway},
        "s3": {"port": s3},
        "trino": {"port": trino},
        "console": {"port": page},
        **{name: {"metrics_port": 0} for name in METERS},
    }
    environment = {"STORELAKE_VAR_DIR": str(folder)}
    if pulsar:
        tree["pulsar"] = {"port": broker, "admin_port": admin}
        tree["streams"] |= {"detections_from": ("kafka", "pulsar")}
        environment["STORELAKE_STREAMS__DETECTIONS_FROM"] = '["kafka", "pulsar"]'
    environment |= {
        f"STORELAKE_{branch.upper()}__{name.upper()}": str(value)
        for branch, values in tree.items()
        for name, value in values.items()
        if isinstance(value, int)
    }
    return load_settings(var_dir=folder, **tree), environment


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, all open at once while choosing so that they differ."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(probe.getsockname()[1]) for probe in probes]
