"""What a machine must have, whatever the settings are: a check returns what it found.

Each check raises `WHAT IS WRONG: WHAT TO DO`, as `ServiceError` where a deployment cannot work.
Sources of limits: README.md for memory; Postgres takes 64 MiB of shared memory for a parallel
query at least, and RocksDB, Kafka and connections hold some hundred files each.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import shutil
import sys
import time
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import psutil
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from conf.settings.base import CONF_DIR
from infra.errors import ServiceError

GIB = 2**30
NEEDED_GIB = 4
LEAST_CORES = 2
LEAST_FILES = 4096
LEAST_SHARED_BYTES = 64 * 2**20
CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
TIME_ERROR = 5
"""What adjtimex(2) returns while nothing synchronizes the clock."""
TIMEX_BYTES = 512
"""More than any `struct timex`."""


class AdviceError(ServiceError):
    """Works, but not well or not for long."""


def check_python() -> str:
    """Its version."""
    version = platform.python_version()
    wanted = metadata.metadata("storelake")["Requires-Python"]
    if not SpecifierSet(wanted).contains(version):
        raise ServiceError(
            f"Python {version} is not {wanted}: run `make install PYTHON=python3.11`."
        )
    return f"Python {version}"


def check_packages() -> str:
    """Packages that are missing, and those of other versions than were tested."""
    required = [Requirement(one) for one in metadata.requires("storelake") or ()]
    plain = [one for one in required if one.marker is None or one.marker.evaluate({"extra": ""})]
    if missing := [one.name for one in plain if _version(one.name) is None]:
        raise ServiceError(f"Packages are missing ({', '.join(missing)}): run `make install`.")
    constraints = CONF_DIR.parent / "constraints.txt"
    if not constraints.is_file():
        return "all there"
    pinned = [Requirement(line) for line in constraints.read_text().splitlines() if line.strip()]
    apply = [one for one in pinned if one.marker is None or one.marker.evaluate()]
    versions = [(one, _version(one.name)) for one in apply]
    other = [f"{r.name} {v}, not {r.specifier}" for r, v in versions if v and v not in r.specifier]
    if other:
        raise AdviceError(
            f"Other versions than were tested ({'; '.join(other)}): run `make install`."
        )
    return "all there, in the versions of constraints.txt"


def _version(package: str) -> str | None:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def check_cores() -> str:
    """Those that this process may use."""
    cores = len(os.sched_getaffinity(0))
    if cores < LEAST_CORES:
        raise AdviceError(f"There is {cores} core: two make streams follow within seconds.")
    return f"{cores}"


def check_memory(*, in_use: bool) -> str:
    """In use: whether the deployment runs, and has taken its share."""
    machine = psutil.virtual_memory()
    total = min(machine.total, *_limits())
    text = f"{total / GIB:.1f} GiB, {machine.available / GIB:.1f} GiB available"
    if total < (NEEDED_GIB - 1) * GIB:
        raise ServiceError(f"{text}, and {NEEDED_GIB} GiB are needed: use a larger machine.")
    if machine.available < NEEDED_GIB * GIB and not in_use:
        raise AdviceError(f"{text}, and {NEEDED_GIB} GiB are used: end other programs.")
    return text


def _limits() -> list[int]:
    """Limits of the container's memory in bytes; none is a very large one."""
    texts = [file.read_text().strip() for file in CGROUP_LIMITS if file.is_file()]
    return [int(text) for text in texts if text.isdigit()] or [sys.maxsize]


def check_shared_memory() -> str:
    """Room for POSIX shared memory."""
    folder = Path("/dev/shm")  # noqa: S108 - of POSIX shared memory
    free = shutil.disk_usage(folder).free if folder.exists() else 0
    if free < LEAST_SHARED_BYTES:
        raise ServiceError(
            f"{free // 2**20} MiB are free in {folder}, and Postgres needs "
            f"{LEAST_SHARED_BYTES // 2**20} MiB: mount a larger one (docker run --shm-size=256m)."
        )
    return f"{free // 2**20} MiB free in {folder}"


def check_open_files() -> str:
    """The hard limit; JVMs raise the soft one to it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= hard < LEAST_FILES:
        raise AdviceError(
            f"A process may open {hard} files, and {LEAST_FILES} may be needed: raise the hard "
            "limit (ulimit -Hn, or LimitNOFILE= of systemd)."
        )
    return "no limit" if hard < 0 else f"{hard} a process"


def check_clock() -> str:
    """Whether it is set, and something synchronizes it."""
    installed = Path(__file__).stat().st_mtime
    if time.time() < installed - 1:
        raise ServiceError("The clock is behind the files of storelake: set it.")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.adjtimex(ctypes.create_string_buffer(TIMEX_BYTES)) == TIME_ERROR:
        raise AdviceError(
            "Nothing synchronizes the clock: run an NTP service such as chrony where tills and "
            "cameras are on other machines."
        )
    return "synchronized"
