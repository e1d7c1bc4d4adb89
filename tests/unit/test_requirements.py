"""Every requirement of the list is shown by a test that names it."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
ORDERS = {f"O{number}" for number in range(1, 10)}
LAKE = {"L1", "L2"}
CAMERAS = {f"V{number}" for number in range(1, 10)} | {"J1"}
QUALITY = {"Q1", "Q2"}
KEEPING = {"L3", "L4"}
RUNNING = {"D1", "D2", "M1"}


def test_every_requirement_of_the_list_is_named_by_a_test() -> None:
    named = {
        name
        for file in TESTS.rglob("test_*.py")
        for name in re.findall(r'mark\.requirement\("(\w+)"\)', file.read_text(encoding="utf-8"))
    }

    assert named >= ORDERS | CAMERAS | QUALITY | LAKE | KEEPING | RUNNING
