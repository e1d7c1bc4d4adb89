"""MinIO's program, which comes as source: built once by Go, through its ordinary proxy."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from threading import Event

from conf.settings import load_settings
from infra.errors import ServiceError
from infra.local.checks import require_disk
from infra.local.locks import exclusive
from infra.local.tool import Report, line_counter, run_tool

MODULE = "github.com/minio/minio"
# The newest commit: upstream is archived, and tags its releases by date, which Go cannot name.
VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"
LEAST_GO = (1, 21)
"""From this release on, Go fetches by itself the newer one that a module requests."""
GO_LINES = {"go: downloading": "{} modules fetched", "": "{1} packages compiled"}
BUILD_BYTES = 5 * 1024**3
INSTEAD = "set STORELAKE_S3__ENDPOINT to an S3 that runs already"


def program_file(cache_dir: Path) -> Path:
    """Where the program is, once it is built."""
    return cache_dir / f"minio-{VERSION}"


def build_minio(cache_dir: Path, cancel: Event, report: Report) -> Path:
    """The program, built the first time.

    A file under the final name is always whole: it is built elsewhere and moved there in one step.
    After a failure, what Go has downloaded and compiled is kept, so that the next try continues
    from there; after a success it is deleted: it is 3 GB.

    Raises:
        ServiceError: there is no Go, or too old a one; no room; the build failed.
    """
    program = program_file(cache_dir)
    if program.is_file():
        return program
    go = find_go()
    require_disk(cache_dir, BUILD_BYTES)
    with exclusive(cache_dir / "minio.lock", "building MinIO", seconds=3600, cancel=cancel):
        if not program.is_file():
            work = cache_dir / "go-minio"
            with tempfile.TemporaryDirectory(dir=cache_dir, prefix="minio-") as scratch:
                report("minio: building from source (about 7 min on two cores, once)")
                progress = line_counter("minio", report, 50, GO_LINES)
                command = _command(go, work, Path(scratch))
                try:
                    run_tool(command, "Building MinIO", cancel, on_line=progress)
                except ServiceError as error:
                    if cancel.is_set():
                        raise
                    again = "Check the network and run `storelake up` again"
                    raise ServiceError(f"{error} {again}, or {INSTEAD}.") from error
                (Path(scratch) / "minio").rename(program)
            shutil.rmtree(work, ignore_errors=True)
    return program


def _command(go: str, work: Path, scratch: Path) -> list[str]:
    # Folders of its own: a user's own Go is neither read nor filled.
    folders = {"GOPATH": work / "path", "GOCACHE": work / "cache", "GOBIN": scratch}
    command = ["env", *(f"{name}={folder}" for name, folder in folders.items()), "CGO_ENABLED=0"]
    # -modcacherw, or nobody could delete the downloads; -s -w leaves out the debugger's tables.
    command += [go, "install", "-v", "-modcacherw", "-trimpath", "-ldflags=-s -w"]
    return [*command, f"{MODULE}@{VERSION}"]


def find_go() -> str:
    """A Go that is new enough, on the PATH or where its own installer puts it.

    Raises:
        ServiceError: there is none, or only an older one.
    """
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    wanted = ".".join(map(str, LEAST_GO))
    if go is None:
        raise ServiceError(
            f"MinIO is built from its source, and no Go was found: install Go {wanted} or newer "
            f"and put it on the PATH, or {INSTEAD}."
        )
    output = subprocess.run([go, "version"], check=False, capture_output=True, text=True).stdout
    found = re.search(r"go(\d+)\.(\d+)", output)
    if found is None or tuple(map(int, found.groups())) < LEAST_GO:
        raise ServiceError(
            f"MinIO needs Go {wanted} or newer; {go} is {output.strip()!r}: install a newer one "
            f"and put it on the PATH, or {INSTEAD}."
        )
    return go


def build_ahead() -> None:
    """What the profile `full` needs, for a start that cannot wait; `.ci/run` calls it."""
    build_minio(load_settings().cache_dir, Event(), print)
