"""The commands in the documentation: known ones; those that need no deployment run."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from pathlib import Path

import pytest
import typer
from jsonschema import Draft202012Validator

from cli.main import app
from conf.contracts import event_schemas
from tools.docs.files import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"(?:<!-- (?P<note>.+?) -->\n)?```sh\n(?P<text>.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """Shell commands of a page, and what stands above them."""

    page: Path
    line: int
    note: str
    text: str

    @property
    def commands(self) -> Iterator[list[str]]:
        """Arguments of each command, without comments, pipes and variables before it."""
        for line in self.text.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars="|&>;")
            lexer.whitespace_split = True
            for ends, part in groupby(lexer, lambda word: set(word) <= set("|&>;")):
                words = [word for word in part if word != "PYTHONPATH=."]
                if words and not ends:
                    yield words

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks() -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in BLOCK.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(page, line, match["note"] or "", match["text"]))
    return found


BLOCKS = blocks()
RUN = [block for block in BLOCKS if block.note == "run"]
TUTORIAL = ROOT / "docs" / "TUTORIAL.md"


def test_there_are_commands_to_look_at() -> None:
    assert len(BLOCKS) > 15
    assert len(RUN) >= 4


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_command_of_the_documentation_is_known(block: Block) -> None:
    for words in block.commands:
        if words[0] == "storelake":
            parse(words[1:])
        elif words[0] == "make":
            makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
            for target in (word for word in words[1:] if "=" not in word):
                assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"no target {target}"
        elif words[0].startswith("scripts/"):
            assert (ROOT / words[0]).exists()
        elif words[0] == "spark-submit":
            (job,) = (found for word in words if (found := re.search(r"streaming/.+\.py$", word)))
            assert (ROOT / job[0]).exists()


def parse(words: list[str]) -> None:
    """Refuse a command or an option that the command line does not have; run nothing."""
    command = typer.main.get_command(app)
    while hasattr(command, "resolve_command"):
        with command.make_context("storelake", words[:1], resilient_parsing=True) as context:
            _, command, words = command.resolve_command(context, words)
    if "--help" not in words:
        command.make_context("storelake", words).close()


def test_every_block_of_the_tutorial_states_whether_a_test_runs_it() -> None:
    for block in (b for b in BLOCKS if b.page == TUTORIAL):
        assert block.note == "run" or block.note.startswith("not run: "), block
        for test in re.findall(r"tests/[\w/]+\.py", block.note):
            assert (ROOT / test).exists(), f"{block} names {test}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all blocks of the tutorial run, one after the other."""
    folder = tmp_path_factory.mktemp("tutorial")
    program = folder / "bin" / "storelake"
    program.parent.mkdir()
    python = shlex.quote(sys.executable)
    program.write_text(f'#!/bin/sh\nexec {python} -m cli.main "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    return folder


@pytest.mark.parametrize("block", RUN, ids=str)
def test_a_block_that_needs_no_sandbox_runs_as_described(block: Block, folder: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("STORELAKE_")} | {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "STORELAKE_VAR_DIR": str(folder / "var"),
        "STORELAKE_INFERENCE__METRICS_PORT": "0",
    }
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    written = re.findall(r"--out (\S+)", block.text)
    assert all((folder / name).exists() for name in written)


def test_the_order_of_the_tutorial_is_one_that_the_contract_takes() -> None:
    (text,) = re.findall(r"```json\n(.*?)```", TUTORIAL.read_text(encoding="utf-8"), re.DOTALL)
    event = json.loads(text, parse_float=Decimal)

    schema = event_schemas("order_event")[event["schema_version"]]
    assert list(Draft202012Validator(schema).iter_errors(event)) == []
    total = sum(item["quantity"] * item["unit_price"] for item in event["order"]["items"])
    assert total == event["order"]["total_price"]
