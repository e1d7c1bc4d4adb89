"""The commands in the documentation are known ones; `tests/e2e/test_tutorial.py` runs some."""

from __future__ import annotations

import json
import re
from decimal import Decimal

import pytest
from jsonschema import Draft202012Validator

from conf.contracts import event_schemas
from tests.support.command_line import parse
from tests.support.pages import PAGES, TUTORIAL, Block, blocks, tutorial_order
from tools.docs.files import ROOT

NOW = "2024-05-01T10:15:00Z"
BLOCKS = [block for page in PAGES for block in blocks(page)]


def test_there_are_commands_to_look_at() -> None:
    assert len(BLOCKS) > 15


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


def test_every_block_of_the_tutorial_states_whether_a_test_runs_it() -> None:
    for block in (b for b in BLOCKS if b.page == TUTORIAL):
        assert block.note.startswith(("run", "not run: ")), block
        for test in re.findall(r"tests/[\w/]+\.py", block.note):
            assert (ROOT / test).exists(), f"{block} names {test}"


def test_the_order_of_the_tutorial_is_one_that_the_contract_takes() -> None:
    event = json.loads(tutorial_order().replace("NOW", NOW), parse_float=Decimal)

    schema = event_schemas("order_event")[event["schema_version"]]
    assert list(Draft202012Validator(schema).iter_errors(event)) == []
    total = sum(item["quantity"] * item["unit_price"] for item in event["order"]["items"])
    assert total == event["order"]["total_price"]
