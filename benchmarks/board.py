"""Figures of queries, void where the answers differ."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from queries import Answer


@dataclass
class Timed:
    """One question on one engine in one layout; seconds."""

    cold: list[float] = field(default_factory=list)
    warm: list[float] = field(default_factory=list)
    bytes_read: int | None = None
    failed: str | None = None

    def figures(self) -> dict[str, Any]:
        """As JSON shows it."""
        if self.failed is not None:
            return {"failed": self.failed}
        said = {
            "cold_s": statistics.median(self.cold),
            "warm_s": statistics.median(self.warm),
            "warm_from_s": min(self.warm),
            "warm_to_s": max(self.warm),
        }
        rounded = {name: round(value, 4) for name, value in said.items()}
        return rounded if self.bytes_read is None else {**rounded, "bytes_read": self.bytes_read}


@dataclass
class Board:
    """All that is measured, and the first answer to each question, which the others must repeat."""

    times: dict[str, dict[str, dict[str, Timed]]] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    wrong: dict[str, list[str]] = field(default_factory=dict)

    def timed(self, question: str, engine: str, layout: str) -> Timed:
        """Where the figures of a question go, round after round."""
        layouts = self.times.setdefault(question, {}).setdefault(engine, {})
        return layouts.setdefault(layout, Timed())

    def has(self, engine: str, questions: Iterable[str]) -> bool:
        """Whether an engine was timed on all of these."""
        return all(engine in self.times.get(question, {}) for question in questions)

    def compare(self, question: str, where: str, answer: Answer) -> None:
        """Keep the first answer, or note that this one is another, or empty."""
        first = self.answers.setdefault(question, answer)
        if not answer.rows or not alike(first, answer):
            self.wrong.setdefault(question, []).append(where)

    def result(self) -> dict[str, Any]:
        """By question: whether the answers are equal, and the figures of each engine."""
        return {
            question: {
                "rows": len(self.answers[question].rows) if question in self.answers else None,
                "equal": question in self.answers and question not in self.wrong,
                **({"differs": self.wrong[question]} if question in self.wrong else {}),
                **{name: self._compared(question, of) for name, of in engines.items()},
            }
            for question, engines in self.times.items()
        }

    def _compared(self, question: str, layouts: dict[str, Timed]) -> dict[str, Any]:
        figures = {layout: timed.figures() for layout, timed in layouts.items()}
        if question in self.wrong or any("failed" in one for one in figures.values()):
            return {**figures, "maintained_to_raw": None}
        ratio = {
            name: round(figures["maintained"][f"{name}_s"] / figures["raw"][f"{name}_s"], 3)
            for name in ("cold", "warm")
        }
        return {**figures, "maintained_to_raw": ratio}


def alike(one: Answer, other: Answer) -> bool:
    """Equal, but for what the order of a sum changes in a float."""
    if one.columns != other.columns or len(one.rows) != len(other.rows):
        return False
    return all(
        math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)
        if isinstance(a, float) and isinstance(b, float)
        else a == b
        for row, same in zip(one.rows, other.rows, strict=True)
        for a, b in zip(row, same, strict=True)
    )
