"""Another user of the same machine: what he can open of a deployment, and what answers him.

`python -m tests.support.stranger UID` reads a `Target` as JSON from standard input, becomes the
user, and prints `Found` as JSON. It imports everything first: the user may not see the checkout.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil
import psycopg
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

UID = 12345  # of nobody: Postgres runs as `nobody` where root starts it
TIMEOUT = 3.0
CLOSED = 1
"""A port at which nobody listens."""
PAGES = (
    *("/", "/health", "/ready", "/metrics", "/docs", "/openapi.json", "/test-connection"),
    *("/api/v1/applications", "/admin/v2/clusters", "/v1/status", "/minio/health/live"),
)


@dataclass
class Target:
    """Where to try.

    Attributes:
        files: paths, folders among them.
        ports: TCP ports on loopback.
        kafka, postgres: their ports.
    """

    files: list[str]
    ports: list[int]
    kafka: int
    postgres: int


@dataclass
class Found:
    """What the user could do.

    Attributes:
        read, written: files that he could open for it; folders that he could list, or write to.
        pages: port -> paths that answer 200.
        logins: what let him in.
    """

    read: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    pages: dict[int, list[str]] = field(default_factory=dict)
    logins: list[str] = field(default_factory=list)


def try_everything(target: Target) -> Found:
    """Try as another user; only root may call it."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.stranger", str(UID)],
        input=json.dumps(asdict(target)),
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    found = json.loads(done.stdout)
    found["pages"] = {int(port): pages for port, pages in found["pages"].items()}
    return Found(**found)


def files_below(*folders: Path) -> list[str]:
    """The folders and all that is in them."""
    return [str(path) for folder in folders for path in (folder, *folder.rglob("*"))]


def listening(processes: Sequence[psutil.Process]) -> Iterator[int]:
    """TCP ports on which processes listen."""
    for one in processes:
        with suppress(psutil.Error):
            for connection in one.net_connections(kind="tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    yield connection.laddr.port


def main(uid: int) -> None:
    target, found = Target(**json.load(sys.stdin)), Found()
    try_ports([CLOSED], CLOSED, CLOSED)  # what libraries import at their first use, they have then
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    for path in target.files:
        if os.access(path, os.R_OK):
            found.read.append(path)
        if os.access(path, os.W_OK):
            found.written.append(path)
    found.pages, found.logins = try_ports(target.ports, target.kafka, target.postgres)
    json.dump(asdict(found), sys.stdout)


def try_ports(
    ports: Sequence[int], kafka: int, postgres: int
) -> tuple[dict[int, list[str]], list[str]]:
    """Port -> paths that answer 200; and what lets in without or with guessed credentials."""
    with ThreadPoolExecutor(len(ports)) as pool:
        pages = dict(zip(ports, pool.map(open_pages, ports), strict=True))
    logins = [*kafka_without_credentials(kafka), *guessed(postgres)]
    return {port: found for port, found in pages.items() if found}, logins


def open_pages(port: int) -> list[str]:
    """Paths that answer 200; a port that is silent once is asked no more."""
    found = []
    for page in PAGES:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        try:
            with closing(connection):
                connection.request("GET", page)
                if connection.getresponse().status == 200:
                    found.append(page)
        except TimeoutError:
            break
        except (OSError, http.client.HTTPException):
            continue
    return found


def kafka_without_credentials(port: int) -> Iterator[str]:
    options = {"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 0}
    with suppress(KafkaException):
        topics = AdminClient(options).list_topics(timeout=TIMEOUT).topics
        yield f"Kafka lists {', '.join(topics)}"


def guessed(port: int) -> Iterator[str]:
    for user in ("storelake", "postgres", "storelake_reader", "storelake_console"):
        for password in ("", user, "storelake", "postgres", "changeme"):
            with suppress(psycopg.Error, socket.error):
                psycopg.connect(
                    host="127.0.0.1", port=port, user=user, password=password,
                    dbname="storelake", connect_timeout=int(TIMEOUT),
                ).close()  # fmt: skip
                yield f"Postgres lets {user} in with {password!r}"


if __name__ == "__main__":
    main(int(sys.argv[1]))
