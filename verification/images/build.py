"""Build our images with buildah: no daemon, chroot isolation, a base made by debootstrap."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path

from conf.errors import StorelakeError
from verification.deployment import Step

ROOT = Path(__file__).parents[2]
DOCKERFILE = Path("infra") / "docker" / "Dockerfile"
BASE = "docker.io/library/python:3.11.14-slim-bookworm"
BASE_PACKAGES = "python3,python3-venv,python-is-python3,ca-certificates"
BUILD_SECONDS = 3600.0
MOUNTED = ("/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")
"""Files of this machine that pip needs while it builds."""
CANARY = uuid.uuid4().hex
"""Stands where secrets and state are in the context; no image may contain it."""
IGNORED = (".env", "var/secrets.env", ".git/config", "infra/docker/.env")


def require_tools() -> None:
    """Check for root and the programs, before anything starts.

    Raises:
        StorelakeError: one is missing; installs nothing.
    """
    missing = [name for name in ("buildah", "debootstrap") if shutil.which(name) is None]
    if os.geteuid() != 0:
        missing.insert(0, "root")
    if missing:
        raise StorelakeError(
            f"verify-images lacks {', '.join(missing)}: on Debian, run it as root after "
            "`apt-get install buildah debootstrap`."
        )


class Builder:
    """buildah with a storage of its own.

    Attributes:
        folder: storage and context are below it.
        step: receives the present step.
    """

    def __init__(self, folder: Path, step: Step) -> None:
        self.folder, self.step = folder, step

    def command(self, *arguments: str) -> list[str]:
        """The command line of buildah."""
        folders = ["--root", str(self.folder / "storage"), "--runroot", str(self.folder / "run")]
        return ["buildah", "--storage-driver", "vfs", *folders, *arguments]

    def __call__(self, *arguments: str, seconds: float = BUILD_SECONDS) -> str:
        """Run buildah to its end; returns what it prints.

        Raises:
            StorelakeError: it failed.
        """
        return run(self.command(*arguments), seconds)

    def build(self) -> None:
        """Build the base, `storelake/app` and `storelake/spark`."""
        self.step("the base, by debootstrap")
        base = self.folder / "base"
        debootstrap = ["debootstrap", "--variant=minbase", f"--include={BASE_PACKAGES}"]
        run([*debootstrap, "bookworm", str(base)], BUILD_SECONDS)
        recipe = self.folder / "Containerfile"
        recipe.write_text("FROM scratch\nADD base /\n", encoding="utf-8")
        self("bud", "--isolation", "chroot", "-f", str(recipe), "-t", BASE, str(self.folder))
        context = self._context()
        self._build("app", context, ["-f", str(context / DOCKERFILE), "--target", "app"])
        # Of this stage alone: without a cache of layers, buildah would build `app` again.
        recipe.write_text(spark_stage(context / DOCKERFILE), encoding="utf-8")
        self._build("spark", context, ["-f", str(recipe)])

    def _build(self, name: str, context: Path, options: Sequence[str]) -> None:
        self.step(f"the image {name}")
        mounts = [f"--volume={one}:{one}:ro" for one in MOUNTED if Path(one).is_file()]
        limits = ["--ulimit", "nofile=1024:1024", "--pull-never"]
        own = ["-t", f"storelake/{name}", str(context)]
        self("bud", "--isolation", "chroot", *limits, *mounts, *options, *own)

    def _context(self) -> Path:
        """The checkout's tracked files, and a canary where secrets and state are."""
        context = self.folder / "context"
        listed = run(["git", "-C", str(ROOT), "ls-files", "-z"])
        for path in filter(None, listed.split("\0")):
            if (ROOT / path).is_file():
                (context / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / path, context / path)
        for place in IGNORED:
            (context / place).parent.mkdir(parents=True, exist_ok=True)
            (context / place).write_text(f"PASSWORD={CANARY}\n", encoding="utf-8")
        return context


def spark_stage(dockerfile: Path) -> str:
    """The stage `spark` of our Dockerfile, on the image of the stage `app`."""
    text = dockerfile.read_text(encoding="utf-8")
    found = re.search(r"^FROM app AS spark$.*?(?=^FROM )", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise StorelakeError(f"{dockerfile} has no stage `FROM app AS spark`.")
    return found[0].replace("FROM app", "FROM localhost/storelake/app", 1)


def run(command: Sequence[str], seconds: float = BUILD_SECONDS) -> str:
    """Run a program from the checkout; returns its standard output.

    Raises:
        StorelakeError: it failed.
    """
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False
    )
    if done.returncode:
        last = " | ".join(done.stderr.strip().splitlines()[-3:])
        raise StorelakeError(f"{command[0]} ended with {done.returncode}: {last}")
    return done.stdout
