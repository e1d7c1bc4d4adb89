"""What must hold before a service starts: a free port, room on the disk, a Java new enough."""

from __future__ import annotations

import errno
import re
import shutil
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from conf.settings import is_loopback
from infra.errors import ServiceError

LEAST_FREE_BYTES = 2 * 1024**3
LEAST_JAVA = 17
JVM_FOLDER = Path("/usr/lib/jvm")


def require_loopback(host: str, setting: str) -> None:
    """Refuse an address that other machines can reach: our servers are for this one.

    Raises:
        ServiceError: the host is not a loopback address.
    """
    if not is_loopback(host):
        raise ServiceError(
            f"{setting}={host} is not a loopback address: local servers listen on 127.0.0.1 only; "
            "set it back, or point the settings to a server that you run yourself."
        )


def require_free_port(host: str, port: int, who: str, setting: str) -> None:
    """Make sure that nobody listens on a TCP port, which the variable `setting` moves.

    Raises:
        ServiceError: the port is taken, or may not be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            # Without listen, Linux lets the bind pass beside a listener that set SO_REUSEADDR.
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                reason = f"is taken by {_owner_of(port)}: stop that"
            else:
                reason = f"cannot be used ({error.strerror}): choose another"
            raise ServiceError(
                f"Port {port} for {who} {reason}, or set {setting} to a free port."
            ) from error


def _owner_of(port: int) -> str:
    with suppress(psutil.Error):
        for one in psutil.net_connections(kind="tcp"):
            here = getattr(one.laddr, "port", None) == port
            if here and one.pid and one.status == psutil.CONN_LISTEN:
                return f"process {one.pid} ({psutil.Process(one.pid).name()})"
    return "another process"


def require_disk(folder: Path, least_bytes: int = LEAST_FREE_BYTES) -> None:
    """Make sure that there is room where `folder` is, or will be.

    Raises:
        ServiceError: less than `least_bytes` are free.
    """
    place = folder
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < least_bytes:
        raise ServiceError(
            f"Only {free / 2**30:.1f} GiB are free in {place}, and {least_bytes / 2**30:.0f} GiB "
            "are needed: free some space, or set STORELAKE_VAR_DIR to a larger disk."
        )


@dataclass(frozen=True)
class Java:
    """A Java program and its full version, such as `17.0.15+6`."""

    path: str
    version: str

    @property
    def release(self) -> int:
        """The feature release: 17 of `17.0.15`, 8 of `1.8.0`; 0 if unknown."""
        match = re.match(r"(?:1\.)?(\d+)", self.version)
        return int(match.group(1)) if match else 0


def find_java(java_home: Path | None) -> Java:
    """The first Java that Kafka, Pulsar and Spark run on: of `java_home`, then on the PATH.

    Returns:
        The program and its version.

    Raises:
        ServiceError: there is none, or only an older one.
    """
    return _first_java([*_java_of(java_home), *_java_on_path()], LEAST_JAVA, "", "JAVA_HOME")


def find_newer_java(homes: Sequence[Path | None], least: int, who: str, setting: str) -> Java:
    """The first Java for a server that wants a newer one than the rest of the deployment.

    Raises:
        ServiceError: there is none, or only older ones.
    """
    named = [path for home in homes for path in _java_of(home)]
    installed = [path for home in sorted(JVM_FOLDER.glob("*")) for path in _java_of(home)]
    return _first_java([*named, *_java_on_path(), *installed], least, f" for {who}", setting)


def _java_of(home: Path | None) -> list[str]:
    found = None if home is None else shutil.which("java", path=str(home / "bin"))
    return [found] if found else []


def _java_on_path() -> list[str]:
    found = shutil.which("java")
    return [found] if found else []


def _first_java(paths: Sequence[str], least: int, what_for: str, setting: str) -> Java:
    seen = []
    for path in {str(Path(p).resolve()): p for p in paths}.values():
        java = Java(path, _java_version(path))
        if java.release >= least:
            return java
        seen.append(f"{java.path} is Java {java.version or 'unknown'}")
    if not seen:
        raise ServiceError(
            f"No Java was found{what_for}: install Java {least} or newer, and put it on the PATH "
            f"or set {setting}."
        )
    raise ServiceError(
        f"Java {least} or newer is needed{what_for}, and {', '.join(seen)}: install a newer one "
        f"and set {setting}."
    )


def _java_version(path: str) -> str:
    try:
        done = subprocess.run(
            [path, "-version"], check=False, capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    output = done.stderr + done.stdout
    match = re.search(r"\(build ([\w.+-]+)", output) or re.search(r'version "([^"]+)"', output)
    return match.group(1) if match else ""
