"""Data Docs: a page a suite, each expectation rendered by Great Expectations, in a frame of ours.

Its own frame takes scripts, styles and pictures from a dozen addresses in the network and shows
little without them. This one takes nothing from anywhere, and forbids the browser to
(docs/adr/0017).
"""

from __future__ import annotations

import html
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from great_expectations.core.expectation_validation_result import (
    ExpectationValidationResultSchema,
)
from great_expectations.render.components import RenderedContent
from great_expectations.render.renderer.content_block.validation_results_table_content_block import (  # noqa: E501
    ValidationResultsTableContentBlockRenderer,
)
from great_expectations.render.view.view import DefaultJinjaPageView
from jinja2 import ChoiceLoader, PackageLoader

from quality.documents import Document, columns_of
from quality.suite import PERSONAL, name_of

_VALUES = ("observed_value", "partial_unexpected_list", "partial_unexpected_counts")
_CELL = "{% autoescape false %}{{ cell | render_content_block }}{% endautoescape %}"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One expectation on a page.

    Attributes:
        name: its id within the suite.
        severity, says: what a failure means.
        good: whether the data is as expected.
        personal: whether values were left out.
        samples: unexpected rows, by their keys.
        cells: status, expectation and observed value: HTML of Great Expectations.
    """

    name: str
    severity: str
    says: str
    good: bool
    personal: bool
    samples: list[Mapping[str, Any]]
    cells: list[str]


class Pages(DefaultJinjaPageView):
    """Great Expectations' templates for what is said of an expectation, ours for the page."""

    def __init__(self) -> None:
        super().__init__()
        # Ours first, for `collapse.j2`.
        theirs = PackageLoader("great_expectations", "render/view/templates")
        self.env.loader = ChoiceLoader([PackageLoader("quality"), theirs])
        # Of a value that it cannot render it logs a traceback, and shows "--".
        logging.getLogger("great_expectations.render").setLevel(logging.CRITICAL)

    def page(self, document: Document) -> str:
        """HTML of one suite; what is not as expected comes first."""
        entries = sorted(
            (self._entry(one) for one in document["results"]), key=lambda e: (e.good, e.name)
        )
        ran_at = datetime.fromisoformat(document["meta"]["run_id"]["run_time"])
        return self.env.get_template("data_docs.html.j2").render(
            suite=document["suite_name"],
            good=document["success"],
            ran_at=f"{ran_at:%Y-%m-%d %H:%M:%S}",
            entries=entries,
        )

    def _entry(self, one: Document) -> Entry:
        config, said = one["expectation_config"], one["result"]
        good = bool(one["success"])
        return Entry(
            name=name_of(config),
            severity=config["severity"],
            says=config["notes"] or "",
            good=good,
            personal=bool(PERSONAL & columns_of(config["kwargs"])),
            samples=[] if good else said.get("partial_unexpected_index_list") or [],
            cells=self._cells(one),
        )

    def _cells(self, one: Document) -> list[str]:
        try:
            judged = ExpectationValidationResultSchema().load({**one, "result": _prepared(one)})
            block: Any = ValidationResultsTableContentBlockRenderer.render([judged])
            (row,) = block.table
            cell = self.env.from_string(_CELL)
            return [cell.render(cell=_plain(content)) for content in row]
        except Exception:
            # Whatever a renderer stumbles over: the other expectations are shown, and this by name.
            kind = one["expectation_config"]["type"]
            log.warning("%s cannot be rendered", kind, exc_info=True)
            return ["", html.escape(kind), ""]


def _plain(content: Any) -> Any:
    """Dictionaries, as the templates of Great Expectations take them."""
    if isinstance(content, list):
        return [_plain(one) for one in content]
    return content.to_json_dict() if isinstance(content, RenderedContent) else content


def _prepared(one: Document) -> dict[str, Any]:
    """Values as text: Great Expectations puts them into the page as they are, markup and all."""
    said = {
        name: _escaped(value) if name in _VALUES else value for name, value in one["result"].items()
    }
    if "unexpected_percent" not in said:
        # Not counted in rows, so there is no share, without which it cannot be rendered.
        count = said.pop("unexpected_count", None)
        if count and said.get("observed_value") is None:
            said["observed_value"] = f"{count} unexpected values"
    return said


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return html.escape(value)
    if isinstance(value, Mapping):
        return {_escaped(name): _escaped(one) for name, one in value.items()}
    return [_escaped(one) for one in value] if isinstance(value, list) else value
