"""Full disks: the data of streams, Postgres and Kafka on small file systems that are filled."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from conf.settings import Settings
from infra.local.places import Places, server_account
from verification.faults.deployment import SupervisedDeployment, now
from verification.faults.fault import CannotFireError, Fired, Inject
from verification.faults.hangs import REPORT_SECONDS, report_words, watch

SPARE_BYTES = 512 * 2**20
FULL_SECONDS = 40.0
BALLAST = "ballast"

Folder = Callable[[Settings], Path]


def _lake(settings: Settings) -> Path:
    name = "warehouse" if settings.catalog.format == "iceberg" else "delta"
    return settings.var_dir / name


FOLDERS: dict[str, Folder] = {
    "lake": _lake,
    "checkpoints": lambda s: s.checkpoints,
    "postgres": lambda s: Places(s.var_dir / "postgres", server_account()).root(),
    "kafka": lambda s: s.var_dir / "kafka",
}


@contextmanager
def small_disks(deployment: SupervisedDeployment) -> Iterator[None]:
    """Each folder is a file system of its own with 512 MiB free, until the end of the block.

    Everything is stopped before and after. Without the right to mount, nothing is changed.
    """
    if not may_mount():
        yield
        return
    deployment.storelake("down")
    try:
        with ExitStack() as stack:
            for folder in FOLDERS.values():
                stack.enter_context(_small(folder(deployment.settings)))
            stack.callback(deployment.storelake, "down")
            deployment.heal()
            yield
    finally:
        deployment.heal()


def may_mount() -> bool:
    """Whether this process may mount a file system."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    held = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(held.split()[1], 16) >> 21 & 1)  # CAP_SYS_ADMIN, capabilities(7)


@contextmanager
def _small(folder: Path) -> Iterator[None]:
    """A tmpfs over a folder that holds the same; what is in it at the end is kept."""
    used = sum(f.lstat().st_blocks * 512 for f in folder.rglob("*"))
    state, kept = folder.stat(), folder.with_name(f"{folder.name}.kept")
    _run("cp", "-a", f"{folder}/.", kept)
    size = f"size={used + SPARE_BYTES},mode={state.st_mode & 0o777:o}"
    owner = f"uid={state.st_uid},gid={state.st_gid}"
    _run("mount", "-t", "tmpfs", "-o", f"{size},{owner}", "tmpfs", folder)
    try:
        _run("cp", "-a", f"{kept}/.", folder)
        shutil.rmtree(kept)
        yield
    finally:
        (folder / BALLAST).unlink(missing_ok=True)
        _run("cp", "-a", f"{folder}/.", kept)
        _run("umount", "--lazy", folder)
        _run("cp", "-a", f"{kept}/.", folder)
        shutil.rmtree(kept)


def _run(*arguments: str | Path) -> None:
    subprocess.run([str(one) for one in arguments], check=True, capture_output=True)


def fill(name: str) -> Inject:
    """Fill one of the file systems, and make room again after 40 s.

    Meanwhile something must report it, and no stream may go on as if nothing were wrong.
    """

    def inject(deployment: SupervisedDeployment) -> Fired:
        if not may_mount():
            raise CannotFireError("mounting a small file system needs root")
        folder = FOLDERS[name](deployment.settings)
        ballast = folder / BALLAST
        size = _fill(folder, ballast)
        try:
            report = watch(
                deployment,
                f"the disk of {name} is full",
                FULL_SECONDS,
                each=lambda: _fill(folder, ballast),
            )
        finally:
            ballast.unlink()
        broken = [] if report else [f"nothing reported within {REPORT_SECONDS:.0f} s"]
        observed = f"{size / 2**20:.0f} MiB written until the disk of {name} was full"
        return Fired(f"{observed}; {report_words(report)}", now(), broken)

    return inject


def _fill(folder: Path, ballast: Path) -> int:
    """Append to a file until nothing is free; returns its size in bytes."""
    with suppress(OSError), ballast.open("ab") as file:
        while free := shutil.disk_usage(folder).free:
            os.posix_fallocate(file.fileno(), file.seek(0, 2), free)
    return ballast.stat().st_size
