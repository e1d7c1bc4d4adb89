"""Stopping a process with SIGSTOP: its children with it, or the process alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from conf.settings import load_settings
from infra.local.process import wait_until
from verification.faults.deployment import SupervisedDeployment
from verification.faults.fault import gone
from verification.faults.hangs import stopped
from verification.processes import kill_family

PARENT = "import subprocess; subprocess.run(['sleep', '100'])"


@pytest.fixture
def parent() -> Iterator[psutil.Process]:
    """A process with one child; both wait."""
    process = psutil.Popen([sys.executable, "-c", PARENT])
    assert wait_until(lambda: len(process.children()) == 1, 10)
    (child,) = process.children()
    yield process
    kill_family(child)  # which outlives a parent that the test has killed
    kill_family(process)
    process.wait(10)


@pytest.fixture
def deployment(tmp_path: Path) -> SupervisedDeployment:
    return SupervisedDeployment(load_settings(var_dir=tmp_path))


@pytest.mark.parametrize("alone", [True, False])
def test_a_process_is_stopped_for_a_while_with_its_children_or_alone(
    deployment: SupervisedDeployment, parent: psutil.Process, alone: bool
) -> None:
    (child,) = parent.children()
    with stopped(deployment, parent, alone=alone) as pids:
        assert parent.status() == psutil.STATUS_STOPPED
        assert (child.status() == psutil.STATUS_STOPPED) is not alone
        assert pids == ([parent.pid] if alone else [parent.pid, child.pid])
        assert [one.pid for one in deployment.stopped] == pids
    assert wait_until(lambda: parent.status() != psutil.STATUS_STOPPED, 5)
    assert deployment.stopped == []


def test_a_killed_child_of_ours_leaves_no_zombie(parent: psutil.Process) -> None:
    parent.kill()
    assert gone(psutil.Process(parent.pid), 5)
    assert not psutil.pid_exists(parent.pid)
