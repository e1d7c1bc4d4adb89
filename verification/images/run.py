"""`make verify-images`: build our images, and run their commands on local services.

Checks the user, the files that the user may write, and that nothing of `.dockerignore` is in a
layer; then an order goes from the gateway of `app` to the stream of `spark`.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg

from conf.errors import StorelakeError
from conf.settings import Settings
from infra.local.checks import require_disk
from infra.local.readiness import gateway_ready
from verification.deployment import Deployment
from verification.images.build import CANARY, Builder, run
from verification.one_order import send_order
from verification.processes import Child, family, kill_family

DISK_BYTES = 14 * 1024**3
ARRIVAL_SECONDS = 400.0
USER = 10001
HOME, CACHE = Path("/var/lib/storelake"), Path("/var/cache/storelake")
OWN = ("var/lib/storelake", "var/cache/storelake", "footage")
UNTRIED = [
    "images of others: kafka, pulsar, postgres, minio, iceberg-rest, trino, prometheus, grafana",
    "the base that Dockerfile names: Debian's Python stands in for it",
    "targets inference-gpu and jupyter",
    "compose itself: networks, host names, volumes, health checks, capabilities, limits, restarts",
]


def verify(deployment: Deployment) -> dict[str, Any]:
    """Build and try the images; `ok`, `faults`, `components` of the SBOMs, and what is `untried`.

    Raises:
        StorelakeError: a build failed, or a program did not start.
    """
    folder = deployment.settings.var_dir.parent / "verify-images"
    _delete(folder)
    folder.mkdir(parents=True)
    require_disk(folder, DISK_BYTES)
    try:
        buildah = Builder(folder, deployment.step)
        buildah.build()
        return try_images(buildah, deployment)
    finally:
        _delete(folder)


def try_images(buildah: Builder, deployment: Deployment) -> dict[str, Any]:
    """Look into the images, and run them."""
    faults: list[str] = []
    components = {}
    containers = {
        name: buildah("from", "--pull-never", f"storelake/{name}").strip()
        for name in ("app", "spark")
    }
    for name, container in containers.items():
        buildah.step(f"files of the image {name}")
        root = Path(buildah("mount", container).strip())
        faults += [f"{name}: {fault}" for fault in [*_user(buildah, name), *_files(root)]]
        components[name] = _sbom(root, deployment.settings, name)
    home = _home(buildah.folder, deployment.settings)
    version = run(_in(buildah, containers["app"], home, deployment, "--version"))
    try:
        _one_order(buildah, containers, home, deployment)
    except StorelakeError as error:
        faults.append(str(error))
    return {
        "ok": not faults,
        "version": version.strip().splitlines()[-1],
        "components": components,
        "untried": UNTRIED,
        "faults": faults,
    }


def _user(buildah: Builder, name: str) -> Iterator[str]:
    config = json.loads(buildah("inspect", "--type", "image", f"storelake/{name}"))
    user = config["OCIv1"]["config"].get("User")
    if user != f"{USER}:{USER}":
        yield f"runs as {user or 'root'}"
    if CANARY in json.dumps(config):
        yield "its configuration contains a secret of the context"


def _files(root: Path) -> Iterator[str]:
    """Files that the user may write outside of its folders, and files with the canary."""
    needle = CANARY.encode()
    for folder, folders, names in os.walk(root):
        here = Path(folder)
        relative = here.relative_to(root).as_posix()
        folders[:] = [one for one in folders if f"{relative}/{one}".removeprefix("./") not in OWN]
        for path in [here, *(here / name for name in names)]:
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                continue
            state = path.stat()
            inside = path.relative_to(root)
            if state.st_uid == USER or (state.st_mode & 0o002 and not state.st_mode & 0o1000):
                yield f"/{inside} may be written by the user"
            if state.st_size < 1_000_000 and path.is_file() and needle in path.read_bytes():
                yield f"/{inside} contains a secret of the context"


def _sbom(root: Path, settings: Settings, name: str) -> int:
    out = settings.var_dir.parent / "sbom" / f"image-{name}.cdx.json"
    sbom = [sys.executable, "-m", "tools.supply", "sbom"]
    run([*sbom, str(out), "--root", str(root)])
    return len(json.loads(out.read_text(encoding="utf-8"))["components"])


def _home(folder: Path, settings: Settings) -> Path:
    """A folder of the user of the images: secrets of the local servers, and fetched packages."""
    home = folder / "home"
    home.mkdir()
    shutil.copy(settings.secrets_file, home / settings.secrets_file.name)
    packages = settings.cache_dir / "ivy"
    if packages.is_dir():
        shutil.copytree(packages, home / "cache" / "ivy")
    else:
        (home / "cache").mkdir()
    for path in (home, *home.rglob("*")):
        os.chown(path, USER, USER)
    return home


def _in(
    buildah: Builder, container: str, home: Path, deployment: Deployment, *arguments: str
) -> list[str]:
    """`storelake <arguments>` in a container, as the user of its image."""
    variables = {**deployment.environment, "STORELAKE_PROFILE": "local"}
    variables |= {"STORELAKE_VAR_DIR": str(HOME), "STORELAKE_CACHE_DIR": str(CACHE)}
    variables["SPARK_LOCAL_IP"] = "127.0.0.1"  # buildah gives the host name no address
    options = [f"--env={name}={value}" for name, value in variables.items()]
    options += [f"--volume={home}:{HOME}", f"--volume={home / 'cache'}:{CACHE}"]
    return buildah.command(
        "run", "--isolation", "chroot", *options, container, "--", "storelake", *arguments
    )


def _one_order(
    buildah: Builder, containers: dict[str, str], home: Path, deployment: Deployment
) -> None:
    """Send an order to the gateway of `app`, and wait until the stream of `spark` has written it.

    Raises:
        StorelakeError: it does not arrive, or a program runs as somebody else.
    """
    streams = ("run", "order_event_processor")
    spark = _in(buildah, containers["spark"], home, deployment, *streams)
    app = _in(buildah, containers["app"], home, deployment, "gateway")
    with (
        _beside("spark", spark, deployment) as stream,
        _beside("app", app, deployment) as gateway,
    ):
        deployment.require_ready(gateway, gateway_ready)
        order_id = send_order(deployment.settings)
        deployment.step("an order on its way from image to image")
        deployment.require(
            lambda: _arrived(deployment.settings, order_id),
            ARRIVAL_SECONDS,
            "the stream of the image spark has not written the order",
            alive=stream,
        )
        for child in (stream, gateway):
            ours = (one for one in family(child) if one.name() in ("storelake", "java"))
            if (users := {one.uids().real for one in ours}) != {USER}:
                raise StorelakeError(f"{child.title} runs as the users {sorted(users)}.")


def _arrived(settings: Settings, order_id: str) -> bool:
    with psycopg.connect(settings.postgres.dsn) as connection:
        query = "SELECT 1 FROM orders_processed WHERE order_id = %s"
        return connection.execute(query, (order_id,)).fetchone() is not None


@contextmanager
def _beside(name: str, command: Sequence[str], deployment: Deployment) -> Iterator[Child]:
    """A container beside this process; what it has started ends with it."""
    child = Child(f"image {name}", command, deployment.settings.var_dir / "logs" / f"{name}.log")
    try:
        yield child
    finally:
        members = family(child)
        for one in reversed(members):
            with suppress(psutil.NoSuchProcess):
                one.terminate()
        child.stop()
        for one in members:
            kill_family(one)


def _delete(folder: Path) -> None:
    """Delete it; chroot isolation leaves no mounts of its own."""
    shutil.rmtree(folder, ignore_errors=True)
