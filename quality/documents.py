"""The newest result of every suite as a file: the source of Data Docs.

One JSON file a suite in the format of Great Expectations, replaced atomically. Values of columns
that may be personal are removed before the file is written.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from great_expectations.core import ExpectationSuiteValidationResult

from conf.settings import Settings
from quality.suite import PERSONAL, WRONG

Document = dict[str, Any]
"""What `ExpectationSuiteValidationResult.to_json_dict` makes, cleaned."""

_COLUMNS = ("column", "column_A", "column_B", "column_list", "column_set")
_KEPT_META = ("great_expectations_version", "run_id")
_NOT_SHOWN = "not shown: the column may be personal"

log = logging.getLogger(__name__)


def documents_of(settings: Settings) -> Path:
    """The folder of the files."""
    return settings.var_dir / "quality" / "documents"


def keep(
    settings: Settings,
    run_id: str,
    at: datetime,
    validated: Mapping[str, ExpectationSuiteValidationResult],
) -> None:
    """Write the results of a run, a file for each suite; other suites keep their older file.

    A disk that is full costs the reports, not the run: it is logged.
    """
    folder = documents_of(settings)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for suite, one in validated.items():
            document = cleaned(one)
            document["meta"]["run_id"] = {"run_name": run_id, "run_time": at.isoformat()}
            write_whole(folder / f"{suite}.json", json.dumps(document, indent=1))
    except OSError as error:
        log.warning("no Data Docs of this run: %s cannot be written (%s)", folder, error.strerror)


def read(settings: Settings) -> dict[str, Document]:
    """By suite, `<table>.<suite>`; without those that cannot be read, which are logged."""
    paths = sorted(documents_of(settings).glob("*.json"))
    return {path.stem: document for path in paths if (document := _read(path)) is not None}


def _read(path: Path) -> Document | None:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        log.warning("%s is left out: it cannot be read (%s)", path, error)
        return None


def cleaned(validated: ExpectationSuiteValidationResult) -> Document:
    """As JSON has it, without values that may be personal, tracebacks, and marks of the batch."""
    document: Document = validated.to_json_dict()  # type: ignore[no-untyped-call] # theirs
    document["meta"] = {name: document["meta"].get(name) for name in _KEPT_META}
    for one in document["results"]:
        _clean(one)
    return document


def _clean(one: dict[str, Any]) -> None:
    """One expectation, in place."""
    reported: dict[str, Any] = one["result"]
    # Not every kind of expectation names the columns; then all that it gives of a row.
    about = one["expectation_config"]["kwargs"]
    sample = reported.get("unexpected_index_column_names")
    reported["partial_unexpected_index_list"] = [
        # Not every kind of expectation names the columns; then all that it gives of a row.
        _shown(row, (*sample, *sorted(columns_of(about)), WRONG) if sample else row)
        for row in reported.get("partial_unexpected_index_list") or []
        if isinstance(row, Mapping)  # a suite that names no column gets numbers of rows
    ]
    personal = PERSONAL & columns_of(about)
    if personal:
        reported.pop("partial_unexpected_list", None)
        reported.pop("partial_unexpected_counts", None)
        reported.pop("details", None)
        if not isinstance(reported.get("observed_value"), int | float | None):
            reported["observed_value"] = _NOT_SHOWN
    counts = reported.pop("partial_unexpected_counts", None)
    one["result"] = _without_personal(reported)
    if counts:  # pairs of a value and how often it is there: `value` is no column here
        one["result"]["partial_unexpected_counts"] = [
            {**pair, "value": _without_personal(pair["value"])} for pair in counts
        ]
    one["exception_info"] = _without_traceback(one.get("exception_info") or {}, bool(personal))


def _shown(row: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """What names an unexpected row, and the values that are unexpected; nothing personal."""
    return {name: row[name] for name in names if name in row and name not in PERSONAL}


def columns_of(about: Mapping[str, Any]) -> set[str]:
    """What an expectation is about, by its arguments."""
    named = (about.get(argument) or () for argument in _COLUMNS)
    return {name for one in named for name in ([one] if isinstance(one, str) else one)}


def _without_personal(value: Any) -> Any:
    """A copy without personal columns; numbers are not personal."""
    if isinstance(value, dict):
        return {
            name: _without_personal(one)
            for name, one in value.items()
            if name not in PERSONAL or isinstance(one, int | float)
        }
    return [_without_personal(one) for one in value] if isinstance(value, list) else value


def _without_traceback(info: dict[str, Any], personal: bool) -> dict[str, Any]:
    """What went wrong in one sentence: a traceback has paths of the machine, and values."""
    if "raised_exception" not in info:  # one for each figure that could not be computed
        return {name: _without_traceback(one, personal) for name, one in info.items()}
    message = str(info.get("exception_message") or "").strip()
    first = message.splitlines()[0] if message else None
    return {
        "raised_exception": info["raised_exception"],
        "exception_message": _NOT_SHOWN if personal and first else first,
        "exception_traceback": None,
    }


def write_whole(path: Path, text: str) -> None:
    """Replace a file at once: who reads sees the old one or the new one."""
    fresh = path.with_suffix(f".{os.getpid()}.new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)
