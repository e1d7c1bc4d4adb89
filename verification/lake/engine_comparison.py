"""The dozen questions on every engine, and whether their answers are equal."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing

from queries import ENGINES, Answer, QueryError, open_engine
from queries.ask import ask_question, questions
from verification.deployment import Deployment


def compare_engines(deployment: Deployment) -> dict[str, str]:
    """Ask every question on every engine.

    Returns:
        By question what is wrong with its answers; nothing where they are equal and not empty.
    """
    answers: dict[str, dict[str, Answer | str]] = {name: {} for name in questions()}
    for engine in sorted(ENGINES):
        with closing(open_engine(deployment.settings, engine)) as opened:
            for name, question in questions().items():
                deployment.step(f"{engine}: {name}")
                try:
                    answers[name][engine] = ask_question(opened, question)
                except QueryError as error:
                    answers[name][engine] = str(error)
    found = {name: compare(of_one) for name, of_one in answers.items()}
    return {name: f"{name}: {fault}" for name, fault in found.items() if fault}


def compare(answers: Mapping[str, Answer | str]) -> str | None:
    """What is wrong with the answers to one question, by engine; a text is an error."""
    given = {engine: answer for engine, answer in answers.items() if isinstance(answer, Answer)}
    if errors := {engine: text for engine, text in answers.items() if engine not in given}:
        return "; ".join(f"{engine} has no answer ({text})" for engine, text in errors.items())
    (first, answer), *others = given.items()
    if not answer.rows:
        return f"the answer of {first} is empty"
    different = [engine for engine, other in others if not other.equals(answer)]
    return f"{', '.join(different)} and {first} differ" if different else None
