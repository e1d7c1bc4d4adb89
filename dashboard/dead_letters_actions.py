"""What operators do with dead letters in the console: store an edit, choose what to redrive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from conf.settings import Settings
from dashboard.dead_letters_view import address, page_of, read_filter, version_of
from streaming.dlq_ids import DlqError, read_id
from streaming.sinks.dlq_edits import (
    needs_no_edit,
    require_known,
    require_open,
    start_of_edit,
    value_of_text,
)
from streaming.sinks.dlq_entries import Selection
from streaming.sinks.dlq_store import open_dead_letters
from streaming.transforms.repair import read_event, to_bytes


class RedriveChoice(NamedTuple):
    """What to redrive.

    Attributes:
        page: the address to show afterwards.
        subject: what it is, for people.
        selection: of dead letters.
        confirmed: how many of them the operator has seen.
    """

    page: str
    subject: str
    selection: Selection
    confirmed: int


def store_edit(settings: Settings, actor: str, identifier: str, text: str, version: str) -> None:
    """Store the text of an operator as the edited value; a text without a change is none.

    Args:
        settings: of the deployment.
        actor: who edits.
        identifier: of the dead letter.
        text: JSON.
        version: of the edit that the operator began with (`version_of`).

    Raises:
        DlqError: the text is no JSON or too large, or the dead letter is not as it was then.
    """
    value = value_of_text(text.encode())
    with open_dead_letters(settings, actor) as store:
        (entry,) = store.get([identifier])
        require_open(entry)
        if version_of(entry) != version:
            raise DlqError(
                "Somebody else edited this dead letter meanwhile, so your text is not stored: what "
                "is stored now is above, your text is below."
            )
        if needs_no_edit(entry) or value != _compact(start_of_edit(entry, original=False)):
            store.store_fix(entry, value)


def _compact(value: bytes | None) -> bytes | None:
    """A value as an edit stores it; None where it is no JSON, which any edit changes."""
    try:
        return to_bytes(read_event(value))
    except DlqError:
        return None


def choose(settings: Settings, actor: str, form: Mapping[str, str]) -> RedriveChoice:
    """What a form asks to redrive: the dead letter `id` at its `version`, or all of a `rule`.

    Raises:
        DlqError: it is not open, or was edited after the operator looked; no rule is named.
    """
    if not (given := form.get("id")):
        selection = all_of_rule(settings, form)
        subject = f"rule {selection.rule}"
        return RedriveChoice(address(selection), subject, selection, _count(form.get("count", "")))
    identifier = read_id(given)
    with open_dead_letters(settings, actor) as store:
        (entry,) = store.get([identifier])
    require_open(entry)
    if version_of(entry) != form.get("version", ""):
        raise DlqError(f"{identifier} was edited meanwhile and is not sent: look at it again.")
    selection = Selection(ids=[identifier], status="open")
    return RedriveChoice(page_of(identifier), identifier, selection, 1)


def all_of_rule(settings: Settings, query: Mapping[str, str]) -> Selection:
    """All open dead letters of a filter that names a rule.

    Raises:
        DlqError: it names none, or there is no such rule or topic.
    """
    selection = replace(read_filter(query), status="open")
    if selection.rule is None:
        raise DlqError("Choose a rule: what failed one rule is sent back together.")
    require_known(selection, settings.kafka.order_topics)
    return selection


def _count(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0
