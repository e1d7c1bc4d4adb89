"""The pages of the documentation, and the shell commands on them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from tools.docs.files import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
TUTORIAL = ROOT / "docs" / "TUTORIAL.md"
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
        text = ""
        for line in self.text.replace("\\\n", " ").splitlines():
            text += line
            try:
                words = list(_lexer(text))
            except ValueError:  # a quotation that goes on
                text += "\n"
                continue
            text = ""
            for ends, part in groupby(words, lambda word: set(word) <= set("|&>;")):
                command = [word for word in part if word != "PYTHONPATH=."]
                if command and not ends:
                    yield command

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def _lexer(text: str) -> shlex.shlex:
    lexer = shlex.shlex(text, posix=True, punctuation_chars="|&>;")
    lexer.whitespace_split = True
    return lexer


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of shell commands on a page, in their order."""
    text = page.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        yield Block(page, line, match["note"] or "", match["text"])


def tutorial_order() -> str:
    """What the tutorial tells its reader to save as order.json."""
    (text,) = re.findall(r"```json\n(.*?)```", TUTORIAL.read_text(encoding="utf-8"), re.DOTALL)
    return str(text)
