"""Files that are lost or cut: checkpoints, and the state files of the supervisor."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import psutil

from infra.local.process import wait_until
from verification.faults.deployment import PROGRAMS, SupervisedDeployment, now
from verification.faults.fault import Fired, Inject, NotFiredError, gone, require
from verification.faults.hangs import stopped
from verification.processes import kill_family

LOOKS_SECONDS = 5.0  # the supervisor looks four times a second


def while_down(change: Callable[[Path], str]) -> Inject:
    """Kill the driver, change its checkpoints, and let the supervisor start another one.

    Args:
        change: gets the folder of the checkpoints; returns what it did, in words.
    """

    def inject(deployment: SupervisedDeployment) -> Fired:
        old = require(deployment, "streams")
        with stopped(deployment, require(deployment, "supervisor"), alone=True):
            kill_family(old)
            if not gone(old):
                raise NotFiredError(f"pid {old.pid} of the driver outlives SIGKILL")
            done = change(deployment.settings.checkpoints)
            since = now()
        return Fired(f"pid {old.pid} is gone; {done}", since)

    return inject


def delete_newest_commits(checkpoints: Path) -> str:
    """Delete the newest commit of every query, as if the crash came before it was written."""
    deleted = []
    for commits in sorted(checkpoints.glob("*/commits")):
        numbers = [int(f.name) for f in commits.iterdir() if re.fullmatch(r"\d+", f.name)]
        if numbers:
            newest = max(numbers)
            (commits / str(newest)).unlink()
            (commits / f".{newest}.crc").unlink(missing_ok=True)
            deleted.append(str(newest))
    if not deleted:
        raise NotFiredError(f"{checkpoints} has no commit")
    return f"commits {', '.join(deleted)} deleted"


def delete_all(checkpoints: Path) -> str:
    """Delete every checkpoint."""
    queries = [f for f in checkpoints.iterdir() if f.is_dir()]
    if not queries:
        raise NotFiredError(f"{checkpoints} is empty")
    shutil.rmtree(checkpoints)
    return f"{len(queries)} checkpoints deleted"


def cut_wanted(deployment: SupervisedDeployment) -> Fired:
    """Cut `wanted.json`, the list of wanted programs: everything must keep running."""
    return _damage(deployment, ("run/wanted.json",), _cut)


def overwrite_pids(deployment: SupervisedDeployment) -> Fired:
    """Garbage in the pid files of streams and gateway, then `storelake start`: no second driver."""
    files = ("run/programs/streams.json", "run/programs/gateway.json", "run/streams.json")
    return _damage(deployment, files, _overwrite)


def _damage(
    deployment: SupervisedDeployment, names: tuple[str, ...], damage: Callable[[Path], str]
) -> Fired:
    """Damage state files, then ask for what runs already; nothing may change."""
    before = {name: require(deployment, name) for name in PROGRAMS}
    var, since = deployment.settings.var_dir, now()
    observed = "; ".join(damage(var / name) for name in names)
    switched_off = wait_until(lambda: not _all_run(before), LOOKS_SECONDS)
    done = deployment.storelake("start", *PROGRAMS)
    broken = [f"{name} was ended" for name, one in before.items() if not one.is_running()]
    broken += [f"{name} is not found again" for name in before if not deployment.find(name)]
    if switched_off:
        broken.append("the supervisor ended programs")
    if done.code:
        broken.append(f"`storelake start` ended with {done.code}: {done.last_lines(1)}")
    if (count := len(_roots(deployment))) != 1:
        broken.append(f"{count} drivers run")
    return Fired(observed, since, broken)


def _all_run(processes: dict[str, psutil.Process]) -> bool:
    return all(one.is_running() for one in processes.values())


def _roots(deployment: SupervisedDeployment) -> list[psutil.Process]:
    """Drivers; a child of a driver that has its command line (a fork) is none."""
    drivers = deployment.drivers()
    pids = {one.pid for one in drivers}
    return [one for one in drivers if one.ppid() not in pids]


def _cut(file: Path) -> str:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    return f"{file.name} cut from {len(content)} to {len(content) // 2} bytes"


def _overwrite(file: Path) -> str:
    size = file.stat().st_size
    file.write_bytes(b"\x00\xff{garbage" * 3)
    return f"{file.name} ({size} bytes) overwritten by garbage"
