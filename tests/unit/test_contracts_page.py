"""The page of contracts: every contract is listed, and its fields once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "CONTRACTS.md").read_text(encoding="utf-8")
TABLES = (ROOT / "docs" / "TABLES.md").read_text(encoding="utf-8")
CONTRACTS = sorted(f.name.removesuffix(".odcs.yaml") for f in ROOT.glob("conf/contracts/*.yaml"))


@pytest.mark.parametrize("name", CONTRACTS)
def test_every_contract_is_listed_with_a_section_here_or_with_the_tables(name: str) -> None:
    (address,) = re.findall(rf"^\| \[{re.escape(name)}\]\((\S+)\)", PAGE, re.MULTILINE)
    page = TABLES if address.startswith("TABLES.md") else PAGE
    headings = re.findall(r"^## (\S+)$", page, re.MULTILINE)
    assert address.partition("#")[2] in [heading.replace(".", "") for heading in headings]


def test_topics_with_the_same_fields_list_them_once() -> None:
    section = PAGE.split("\n## topic.order-cancelled\n")[1].split("\n## ")[0]
    assert "- Event type: `order.cancelled`" in section
    assert "- Fields: as [topic.order-created](#topicorder-created)" in section
    assert "| `order.total_price` |" not in section


def test_a_topic_of_more_event_types_lists_only_what_differs() -> None:
    section = PAGE.split("\n## topic.order-events\n")[1].split("\n## ")[0]
    assert "- Fields: as [topic.order-created](#topicorder-created), and:" in section
    (only,) = re.findall(r"- Only where event_type is not order.status_changed: (.+)", section)
    assert {"`order.total_price`", "`order.items`"} <= set(only.split(", "))
    assert re.findall(r"^\| `(\S+)` \|", section, re.MULTILINE) == [
        "order.old_status",
        "order.new_status",
    ]
