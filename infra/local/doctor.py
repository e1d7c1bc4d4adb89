"""What a deployment needs, checked before anything is downloaded or started."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from conf.errors import StorelakeError
from conf.settings import Settings
from conf.settings.weak_secrets import weak_secrets
from infra.errors import ServiceError
from infra.local import machine
from infra.local.board import StateDir
from infra.local.checks import find_java, require_disk, require_free_port
from infra.local.go import find_go, program_file
from infra.local.jars import KAFKA, PULSAR, TRINO, jars_folder
from infra.local.process import PRIVATE
from infra.local.program_status import require_free
from infra.local.programs import MANAGED
from infra.local.service import Service
from infra.local.services import services
from infra.local.trino import TrinoService

GIB = 2**30

State = Literal["ok", "warning", "wrong"]


@dataclass(frozen=True)
class MachineCheck:
    """The result of one check.

    Attributes:
        state: `wrong` must be mended before the deployment works.
        detail: what was found.
        action: what to do; empty where nothing is to be done.
    """

    check: str
    state: State
    detail: str
    action: str = ""


def examine(settings: Settings) -> Iterator[MachineCheck]:
    """Check everything; changes nothing, and needs no service and no network."""
    for name, check in _checks(settings):
        yield _checked(name, check)


def _checked(name: str, check: Callable[[], str]) -> MachineCheck:
    try:
        return MachineCheck(name, "ok", check())
    except OSError as error:
        return MachineCheck(name, "wrong", str(error))
    except StorelakeError as error:
        detail, _, action = str(error).partition(": ")
        state: State = "warning" if isinstance(error, machine.AdviceError) else "wrong"
        return MachineCheck(name, state, detail, action)


def _checks(settings: Settings) -> Iterator[tuple[str, Callable[[], str]]]:
    """Name and check; a check returns what it found, or raises `WHAT IS WRONG: WHAT TO DO`."""
    yield "python", machine.check_python
    yield "packages", machine.check_packages
    yield "java", partial(_java, settings)
    yield "cores", machine.check_cores
    yield "memory", partial(_memory, settings)
    yield "disk", partial(_disk, settings)
    yield "folder", partial(_folder, settings)
    yield "secrets", partial(_secrets, settings)
    yield "clock", machine.check_clock
    yield "shared memory", machine.check_shared_memory
    yield "open files", machine.check_open_files
    yield "downloads", partial(_downloads, settings)
    for service in services(settings):
        yield f"ports of {service.name}", partial(_ports, service)
    for one in MANAGED:
        yield f"port of {one.name}", partial(_port_is_free, settings, one.name)


def _java(settings: Settings) -> str:
    java = find_java(settings.java_home)
    if settings.trino.enabled:
        TrinoService(settings).java()
    return f"Java {java.version} ({java.path})"


def _memory(settings: Settings) -> str:
    return machine.check_memory(in_use=_runs(settings))


def _disk(settings: Settings) -> str:
    for folder in (settings.var_dir, settings.cache_dir):
        require_disk(folder)
    free = shutil.disk_usage(_existing(settings.var_dir)).free
    return f"{free / GIB:.0f} GiB free for {settings.var_dir}"


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(place for place in (folder, *folder.parents) if place.exists())


def _folder(settings: Settings) -> str:
    """Whether this user may use the folder of the deployment, and no other one."""
    folder, user = settings.var_dir, _user(os.geteuid())
    for place in (folder, settings.cache_dir):
        if not os.access(_existing(place), os.W_OK | os.X_OK):
            raise ServiceError(
                f"{user} may not write to {_existing(place)}: change its rights, or set "
                "STORELAKE_VAR_DIR and STORELAKE_CACHE_DIR to other folders."
            )
    if not folder.exists():
        return f"{folder} will be made"
    for path in folder.iterdir():
        if not os.access(path, os.R_OK | os.W_OK):
            raise ServiceError(
                f"{path} belongs to {_user(path.stat().st_uid)}: run storelake as that user, or "
                "run chown -R."
            )
    open_to = folder.stat().st_mode & PRIVATE & ~stat.S_IXGRP
    if open_to:
        raise machine.AdviceError(f"Other users may read {folder}: `storelake up` closes it.")
    return f"{folder} is {user}'s only"


def _user(uid: int) -> str:
    """The name of a user; the number of one without, as in containers."""
    with suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return f"user {uid}"


def _secrets(settings: Settings) -> str:
    file = settings.secrets_file
    if file.exists() and file.stat().st_mode & PRIVATE:
        raise ServiceError(f"Other users may read {file}: run chmod 600 {file}.")
    if weak := weak_secrets(settings):
        found = "; ".join(f"{variable} {fault}" for variable, fault in weak)
        raise machine.AdviceError(
            f"{found}: set a random one, such as `openssl rand -hex 24` prints."
        )
    return "none is weak" if file.exists() else "`storelake up` will make them"


def _downloads(settings: Settings) -> str:
    """What the first start fetches; a check of its own only where that cannot work."""
    bundles = {"kafka": KAFKA, "pulsar": PULSAR, "trino": TRINO}
    wanted = [service.name for service in services(settings) if not service.external]
    missing = [
        f"{bundle.name} ({bundle.megabytes} MB)"
        for name, bundle in bundles.items()
        if name in wanted and not jars_folder(bundle, settings.cache_dir).is_dir()
    ]
    if not any((settings.cache_dir / "ivy").glob("jars-*.json")):
        missing.append("Spark's jars (60 MB)")
    if "minio" in wanted and not program_file(settings.cache_dir).is_file():
        find_go()
        missing.append("MinIO, built from source")
    return f"the first start fetches {', '.join(missing)}" if missing else "all there"


def _ports(service: Service[Any]) -> str:
    """The ports of a service of ours that does not run yet."""
    if service.external:
        return f"{service.address} is not ours"
    if service.daemon.find() is not None:
        return "it runs"
    for setting, who in service.ports:
        variable = f"STORELAKE_{service.branch.upper()}__{setting.upper()}"
        require_free_port(service.conf.host, getattr(service.conf, setting), who, variable)
    return "free"


def _runs(settings: Settings) -> bool:
    return StateDir(settings.var_dir).daemon("streams").find() is not None


def _port_is_free(settings: Settings, name: str) -> str:
    require_free(settings, [one for one in MANAGED if one.name == name])
    return "it runs" if StateDir(settings.var_dir).daemon(name).find() else "free"
