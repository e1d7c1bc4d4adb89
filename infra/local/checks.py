"""What must hold before a service starts: a free port, room on the disk, a Java new enough."""

from __future__ import annotations

import errno
import ipaddress
import re
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

from infra.errors import ServiceError

LEAST_FREE_BYTES = 2 * 1024**3
LEAST_JAVA = 17


def require_loopback(host: str, setting: str) -> None:
    """Refuse an address that other machines can reach: our servers are for this one.

    Raises:
        ServiceError: the host is not a loopback address.
    """
    try:
        loopback = host == "localhost" or ipaddress.IPv4Address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ServiceError(
            f"{setting}={host} is not a loopback address: local servers listen on 127.0.0.1 only; "
            "set it back, or point the settings to a server that you run yourself."
        )


def require_free_port(host: str, port: int, who: str, setting: str) -> None:
    """Make sure that nobody listens there.

    Args:
        host: address to bind.
        port: TCP port.
        who: name of the service, for the message.
        setting: environment variable that moves the port.

    Raises:
        ServiceError: the port is taken, or may not be used.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
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
    try:
        for connection in psutil.net_connections(kind="tcp"):
            if (
                connection.status == psutil.CONN_LISTEN
                and connection.laddr
                and connection.laddr.port == port
                and connection.pid
            ):
                return f"process {connection.pid} ({psutil.Process(connection.pid).name()})"
    except psutil.Error:
        pass
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
        """The feature release: 17 of `17.0.15`, 8 of `1.8.0`; 0 if it did not say."""
        match = re.match(r"(?:1\.)?(\d+)", self.version)
        return int(match.group(1)) if match else 0


def find_java(java_home: Path | None) -> Java:
    """The first Java that is new enough: the one of `java_home`, then the one on the PATH.

    Args:
        java_home: `settings.java_home`.

    Returns:
        The program and its version.

    Raises:
        ServiceError: there is none, or only an older one.
    """
    home = None if java_home is None else shutil.which("java", path=str(java_home / "bin"))
    found = [path for path in (home, shutil.which("java")) if path]
    javas = [Java(path, _java_version(path)) for path in found]
    for java in javas:
        if java.release >= LEAST_JAVA:
            return java
    if not javas:
        raise ServiceError(
            f"No Java was found: install Java {LEAST_JAVA} or newer, and put it on the PATH or "
            "set JAVA_HOME."
        )
    seen = ", ".join(f"{java.path} is Java {java.version or 'unknown'}" for java in javas)
    raise ServiceError(
        f"Java {LEAST_JAVA} or newer is needed, and {seen}: install a newer one and set JAVA_HOME."
    )


def _java_version(path: str) -> str:
    try:
        done = subprocess.run(
            [path, "-version"], check=False, capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    said = done.stderr + done.stdout
    match = re.search(r"\(build ([\w.+-]+)", said) or re.search(r'version "([^"]+)"', said)
    return match.group(1) if match else ""
