"""The tutorial, block by block as its reader types it, in a deployment of its own.

A note above a block states what the test does: `run`; `run until: TEXT`, again until its output
has the text; `not run: REASON`.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from infra.local.process import wait_until
from tests.conftest import own_ports
from tests.support.pages import TUTORIAL, Block, blocks, tutorial_order
from tests.support.processes import processes_of
from tools.docs.files import ROOT

pytestmark = pytest.mark.timeout(600)

UNTIL = "run until: "
GATEWAY = "127.0.0.1:18080"
BLOCKS = [block for block in blocks(TUTORIAL) if not block.note.startswith("not run: ")]


class Reader:
    """A person with a shell in the folder of the checkout.

    Args:
        folder: stands for the checkout; `.venv/bin/activate` gives it the command `storelake`.
        variables: the environment; the ports of the deployment are free ones.
    """

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self.folder, self._variables = folder, dict(variables)
        self.var_dir = folder / "var"
        self._variables["STORELAKE_VAR_DIR"] = str(self.var_dir)
        self._variables["PYTHONPATH"] = str(ROOT)
        self._variables |= own_ports()
        program = folder / ".venv" / "bin" / "storelake"
        program.parent.mkdir(parents=True)
        python = shlex.quote(sys.executable)
        program.write_text(f'#!/bin/sh\nexec {python} -m cli.main "$@"\n', encoding="utf-8")
        program.chmod(0o755)
        (program.parent / "activate").touch()
        self._variables["PATH"] = f"{program.parent}:{os.environ['PATH']}"

    def types(self, commands: str) -> subprocess.CompletedProcess[str]:
        """Run commands in bash, which ends with the first that fails; each question gets a yes."""
        gateway = f"127.0.0.1:{self._variables['STORELAKE_GATEWAY__PORT']}"
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands.replace(GATEWAY, gateway)],
            cwd=self.folder,
            env=self._variables,
            capture_output=True,
            text=True,
            input="y\n",
            check=False,
        )


@pytest.fixture(scope="module")
def reader(environment: Mapping[str, str]) -> Iterator[Reader]:
    with TemporaryDirectory(prefix="storelake-tutorial-") as name:
        Path(name).chmod(0o755)  # Postgres, which root runs as another user, enters it
        reader = Reader(Path(name), environment)
        (reader.folder / "order.json").write_text(tutorial_order(), encoding="utf-8")
        yield reader
        reader.types("storelake down; storelake reset --yes")
        assert processes_of(reader.var_dir) == []


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_of_the_tutorial_works_as_written(reader: Reader, block: Block) -> None:
    runs = list[subprocess.CompletedProcess[str]]()

    def works() -> bool:
        runs.append(reader.types(block.text))
        text = block.note.removeprefix(UNTIL) if block.note.startswith(UNTIL) else ""
        return runs[-1].returncode == 0 and text in runs[-1].stdout

    seconds = 90.0 if block.note.startswith(UNTIL) else 0.0
    assert wait_until(works, seconds, every=1.0), runs[-1].stdout + runs[-1].stderr
