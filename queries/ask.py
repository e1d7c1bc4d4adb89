"""The predefined questions: one file each in `questions`, one SQL text for all engines.

A file begins with comment lines: the question and how to read the answer; then comes the
query, in Trino's SQL.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from queries.engine import Answer, Engine, QueryError

FOLDER = Path(__file__).parent / "questions"


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        name: of its file.
        question: one sentence with a question mark.
        reading: how to interpret the answer.
        sql: in Trino's SQL.
    """

    name: str
    question: str
    reading: str
    sql: str

    def for_engine(self, engine: str) -> str:
        """The same in the SQL of an engine."""
        import sqlglot  # noqa: PLC0415 - slow, and a list of the questions does not need it

        from streaming.lake.dialects import DIALECT, in_dialect  # noqa: PLC0415

        return in_dialect(sqlglot.parse_one(self.sql, read=DIALECT), engine)


@cache
def questions() -> dict[str, Question]:
    """All of them, by name."""
    return {file.stem: _read(file) for file in sorted(FOLDER.glob("*.sql"))}


def _read(file: Path) -> Question:
    lines = file.read_text(encoding="utf-8").splitlines()
    count = next(n for n, line in enumerate(lines) if not line.startswith("--"))
    question, *reading = (line.removeprefix("--").strip() for line in lines[:count])
    return Question(file.stem, question, " ".join(reading), "\n".join(lines[count:]))


def find_question(name: str) -> Question:
    """The question with that name.

    Raises:
        QueryError: there is none.
    """
    if name not in questions():
        raise QueryError(f"There is no question {name}; there are: {', '.join(questions())}.")
    return questions()[name]


def ask_question(engine: Engine, question: Question) -> Answer:
    """Its answer.

    Raises:
        QueryError: it cannot be had.
    """
    return engine.ask(question.for_engine(engine.name))
