"""The pages of dead letters without a browser or a database: what they show, refuse and keep."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from conf.settings import Settings, load_settings
from conf.stores import Stores
from dashboard import dead_letters, dead_letters_actions, redrives
from dashboard.board import Board, BoardView
from dashboard.dead_letters import DeadLetterPages
from dashboard.redrives import Redrives
from dashboard.sessions import Identity
from streaming.dlq_ids import DlqError
from streaming.sinks.dlq_entries import AuditEntry, Count, DlqEntry, DlqSummary, Selection
from tests.support.builders import as_json, order_event

NOON = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)
ID = "order-created/0/1"
PAGE = {"id": ID}


def entry(**overrides: Any) -> DlqEntry:
    """An open dead letter, rejected for its price."""
    empty = dict.fromkeys(one.name for one in fields(DlqEntry))
    value = overrides.pop("value", as_json(order_event(total_price=-1)))
    row = {
        "id": ID,
        "topic": "order-created",
        "status": "open",
        "rules": ["total_price_money"],
        "order_id": "O-1",
        "received_at": NOON,
        "rejected_at": NOON,
        "headers": [],
        "value": value,
        "value_bytes": None if value is None else len(value),
    }
    return DlqEntry(**{**empty, **row, **overrides})


@dataclass
class MemoryDeadLetters:
    """The dead letters of a test, by id; `away` stands for a database that does not answer."""

    entries: dict[str, DlqEntry]
    actor: str = ""
    away: bool = False
    acts: list[tuple[str, str, str]] = field(default_factory=list)

    @contextmanager
    def opened(self, _: Settings, actor: str) -> Iterator[MemoryDeadLetters]:
        if self.away:
            raise DlqError("Postgres does not answer") from psycopg.OperationalError()
        self.actor = actor
        yield self

    @contextmanager
    def alone(self) -> Iterator[None]:
        yield

    def _of(self, selection: Selection) -> list[DlqEntry]:
        return [
            e
            for e in self.entries.values()
            if (not selection.ids or e.id in selection.ids)
            and selection.status in (None, e.status)
            and (selection.rule is None or selection.rule in e.rules)
        ]

    def heads(
        self, selection: Selection, limit: int, after: str | None = None
    ) -> Sequence[DlqSummary]:
        found = self._of(selection)
        start = [e.id for e in found].index(after) + 1 if after else 0
        return found[start : start + limit]

    def ids(self, selection: Selection) -> list[str]:
        return [e.id for e in self._of(selection)]

    def count(self, selection: Selection) -> int:
        return len(self._of(selection))

    def counts(self, selection: Selection) -> list[Count]:
        found = self._of(selection)
        return [Count("total_price_money", "order-created", len(found), NOON, NOON)]

    def get(self, ids: Sequence[str]) -> list[DlqEntry]:
        if missing := [one for one in ids if one not in self.entries]:
            raise DlqError(f"There is no dead letter {missing[0]}.")
        return [self.entries[one] for one in ids]

    def open(self, one: str) -> DlqEntry:
        (found,) = self.get([one])
        self.acts.append((self.actor, "opened", one))
        return found

    def audit(self, one: str) -> list[AuditEntry]:
        return [AuditEntry(NOON, actor, act) for actor, act, of in self.acts if of == one]

    def store_fix(self, one: DlqEntry, value: bytes) -> None:
        self.entries[one.id] = replace(one, fixed_value=value, fixed_at=NOON)


@dataclass
class Shop:
    """A console with dead letters, and a browser of one role."""

    browser: TestClient
    store: MemoryDeadLetters
    who: list[Identity]

    def get(
        self, query: dict[str, str] | None = None, path: str = "/dead-letters", code: int = 200
    ) -> str:
        answer = self.browser.get(path, params=query)
        assert answer.status_code == code, answer.text
        return str(answer.text)

    def post(self, action: str, status: int, query: str = "", **form: str) -> str:
        answer = self.browser.post(f"/dead-letters/{action}{query}", data=form)
        assert answer.status_code == status, answer.text
        return str(answer.text)

    def edit(self, text: str, status: int, version: str = "") -> str:
        return self.post("edit", status, f"?id={ID}", text=text, version=version)


@pytest.fixture
def shop(tmp_path: Path, stores: Stores, monkeypatch: pytest.MonkeyPatch) -> Shop:
    settings = load_settings(var_dir=tmp_path)
    store = MemoryDeadLetters({ID: entry()})
    for module in (dead_letters, dead_letters_actions, redrives):
        monkeypatch.setattr(module, "open_dead_letters", store.opened)
    board = Board(settings, stores, look=_no_database, ends=dict)
    board.fresh = BoardView  # type: ignore[method-assign] # nothing is read
    app, who = FastAPI(), [Identity("Ada", "operator")]

    @app.middleware("http")
    async def sign_in(request: Request, call_next: Any) -> Any:
        request.state.identity, request.state.nonce = who[0], "a-nonce"
        return await call_next(request)

    DeadLetterPages(settings, board, Redrives(settings)).add_to(app)
    return Shop(TestClient(app, follow_redirects=False), store, who)


def _no_database() -> Any:
    raise AssertionError("the database is not read")


def test_the_list_names_each_dead_letter_and_pages_by_the_last_one(shop: Shop) -> None:
    ids = [f"order-created/0/{n}" for n in range(120)]
    shop.store.entries = {one: entry(id=one) for one in ids}
    first = shop.get()
    assert "order-created/0/49<" in first
    assert "order-created/0/50<" not in first
    more = html.unescape(re.findall(r'id="more" href="([^"]+)"', first)[0])
    assert "order-created/0/50<" in shop.get(path=more)
    assert "120" in first


def test_a_value_is_shown_with_what_differs_in_place_and_it_is_audited(shop: Shop) -> None:
    page = shop.get(PAGE)
    marked = re.findall(r'class="differs"><span class="n">\d+</span>\s*([^<]+)<', page)
    assert [html.unescape(one) for one in marked] == ['"total_price": -1,']
    assert "<strong>order.total_price</strong>: expected more than 0, got -1" in page
    assert shop.store.acts == [("console: Ada", "opened", ID)]
    assert "opened by console: Ada" in page


@pytest.mark.parametrize(
    "value",
    [None, b"", b"\xff\xfe<script>", b"{", b'"\\ud800"', b"[" * 900 + b"]" * 900, b"x" * 30_000],
)
def test_whatever_a_value_is_it_has_a_page(shop: Shop, value: bytes | None) -> None:
    shop.store.entries = {ID: entry(value=value, headers=[("\ud800", b"\xff"), ("none", None)])}
    page = shop.get(PAGE)
    assert "<script>" not in page.replace('<script nonce="a-nonce">', "")
    assert shop.browser.get("/dead-letters/raw", params=PAGE).content == (value or b"")


def test_a_viewer_reads_no_message_and_changes_nothing(shop: Shop) -> None:
    shop.who[0] = Identity("Vi", "viewer")
    assert "order-created" not in shop.get(PAGE)
    for path in ("raw", "redrive"):
        shop.get(PAGE, f"/dead-letters/{path}", 403)
    for action in ("edit", "check", "redrive"):
        shop.post(action, 403, f"?id={ID}", id=ID)
    assert shop.store.acts == []


def test_an_edit_is_stored_as_compact_json_with_its_digits(shop: Shop) -> None:
    event = order_event(total_price=2)
    shop.edit(json.dumps(event, indent=4).replace('"total_price": 2', '"total_price": 2.50'), 303)
    stored = shop.store.entries[ID].fixed_value
    assert stored is not None
    assert b'"total_price":2.50' in stored
    page = shop.get(PAGE)
    assert "Edited value" in page
    assert "Send back as edited" in page


def test_a_text_without_a_change_is_no_edit(shop: Shop) -> None:
    event = json.loads(shop.store.entries[ID].value or b"")
    shop.edit(json.dumps(event, indent=2).replace("\n", "\r\n"), 303)
    assert shop.store.entries[ID].fixed_value is None


@pytest.mark.parametrize(
    ("changes", "text", "reason"),
    [
        ({}, '{"a": }', "This is no JSON (line 1, column 7"),
        ({}, json.dumps("x" * (1 << 20)), "larger than 1 MiB"),
        ({"fixed_at": NOON, "fixed_value": b"{}"}, "[7]", "Somebody else edited"),
        ({"status": "redriven", "redriven_at": NOON}, "[7]", "is redriven: it was sent back"),
    ],
)
def test_an_edit_that_is_not_stored_stays_in_the_page_with_the_reason(
    shop: Shop, changes: dict[str, Any], text: str, reason: str
) -> None:
    before = shop.store.entries[ID] = entry(**changes)
    page = html.unescape(shop.edit(text, 409))
    assert reason in page
    assert text in page
    assert shop.store.entries[ID] == before


def test_a_form_that_is_too_large_is_one_sentence(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "MOST_FORM", 100)
    assert "too large or too slow" in shop.edit("x" * 200, 400)


def test_an_edit_while_the_database_is_away_stays_in_the_page(shop: Shop) -> None:
    shop.store.away = True
    page = html.unescape(shop.edit('{"my": "text"}', 503))
    assert "Postgres does not answer" in page
    assert '{"my": "text"}' in page


def test_a_text_is_compared_with_the_contract_while_it_is_edited(shop: Shop) -> None:
    def check(body: bytes) -> str:
        return shop.browser.post("/dead-letters/check", content=body).text

    assert "fits the contract" in check(as_json(order_event()))
    assert "<code>order.total_price</code> expected more than 0" in check(
        as_json(order_event(total_price=0))
    )
    assert "no JSON: line 1, column 2" in check(b"{")


def _no_kafka(_: object) -> Any:
    raise DlqError("Kafka at 127.0.0.1:9 does not answer")


def test_a_redrive_without_kafka_reports_it_and_the_dead_letter_stays_open(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redrives, "Redriver", _no_kafka)
    shop.post("redrive", 303, id=ID, version="")
    page = shop.get(PAGE)
    assert "does not answer" in page
    assert "stopped" in page
    assert shop.store.entries[ID].status == "open"


def test_what_was_edited_after_the_operator_looked_is_not_sent(shop: Shop) -> None:
    shop.store.entries[ID] = entry(fixed_at=NOON, fixed_value=b"{}")
    earlier = (NOON - timedelta(minutes=1)).isoformat()
    assert "was edited meanwhile" in shop.post("redrive", 400, id=ID, version=earlier)


def test_all_of_a_rule_are_sent_only_as_many_as_were_confirmed(shop: Shop) -> None:
    rule = {"rule": "total_price_money"}
    assert "1 open dead letter" in shop.get(rule, "/dead-letters/redrive")
    shop.store.entries["order-created/0/2"] = entry(id="order-created/0/2")
    shop.post("redrive", 303, **rule, count="1")
    assert "there are 2 by now" in shop.get()
    assert "Choose a rule" in shop.post("redrive", 400, count="2")


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"rule": "price"}, "There is no rule price"),
        ({"topic": "order-dlq"}, "carries no orders"),
        ({"since": "yesterday"}, "is no time"),
        ({"until": "0001-01-01T00:00+14:00"}, "is no time"),
        ({"status": "lost"}, "There is no status lost"),
        ({"id": "seven"}, "is no id of a dead letter"),
        ({"id": "order-created/0/9"}, "There is no dead letter order-created/0/9"),
    ],
)
def test_what_there_is_not_is_one_sentence(shop: Shop, query: dict[str, str], reason: str) -> None:
    assert reason in html.unescape(shop.get(query, code=400))
