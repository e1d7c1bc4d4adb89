"""Why a process ended, in one sentence: the cause, without a traceback, SQL or links."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.last_words import last_words

SQLALCHEMY = """\
WARNING: Using incubator modules: jdk.incubator.vector
Traceback (most recent call last):
  File "quality/run.py", line 122, in run_quality
    open_lake(settings) as lake,
psycopg.errors.UndefinedTable: relation "lake" does not exist
LINE 2: FROM iceberg_tables
             ^

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "cli/main.py", line 100, in main
    app()
sqlalchemy.exc.ProgrammingError: (psycopg.errors.UndefinedTable) relation "lake" does not exist
LINE 2: FROM iceberg_tables
             ^
[SQL: SELECT iceberg_tables.catalog_name
FROM iceberg_tables
WHERE iceberg_tables.catalog_name = %(catalog_name_1)s::VARCHAR]
[parameters: {'catalog_name_1': 'lake'}]
(Background on this error at: https://sqlalche.me/e/20/f405)
"""
REFUSED = (
    "The stream footfall is held by process 7 of host a since 10:00: run `storelake stop streams`, "
    "or start with --take-over."
)
LOGGED = json.dumps({"level": "error", "process": "streams", "event": "it failed: no broker"})
RAISED = json.dumps(
    {
        "level": "error",
        "event": "x",
        "exception": "Traceback (most recent call last):\n  a\nOSError: no",
    }
)
INFO = json.dumps({"level": "info", "event": "run", "tables": 3})
JVM = "26/11/29 13:00:00 WARN ShutdownHookManager: could not delete /tmp/x\n\tat java.lang.Thread"
KAFKA = "[2026-11-29 13:00:00,123] ERROR Exiting Kafka due to fatal exception (kafka.Kafka$)"
KAFKA_1 = "2026-11-29 13:00:00,123 INFO Kafka startTimeMs: 1 (AppInfoParser)"
KAFKA_2 = "2026-11-29 13:00:00,123 ERROR Disk error (Log)\njava.io.IOException: no space left"
POSTGRES_1 = '2026-11-29 13:00:00.123 UTC [7] ERROR:  table "x" does not exist'
POSTGRES = (
    "2026-11-29 13:00:00.123 UTC [7] FATAL:  lock file is empty\n"
    "2026-11-29 13:00:00.124 UTC [7] HINT:  remove it"
)


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        (SQLALCHEMY, 'UndefinedTable: relation "lake" does not exist'),
        (f"{REFUSED}\n{JVM}\n{INFO}\n", REFUSED),
        (f"{SQLALCHEMY}{REFUSED}\n{INFO}\n", REFUSED),
        (f"{REFUSED}\n{SQLALCHEMY}", 'UndefinedTable: relation "lake" does not exist'),
        (f"{INFO}\n{LOGGED}\n{INFO}\n", "it failed: no broker"),
        (f"{RAISED}\n{JVM}\n", "OSError: no"),
        (f"{KAFKA}\n", "ERROR Exiting Kafka due to fatal exception (kafka.Kafka$)"),
        (KAFKA_2, "java.io.IOException: no space left"),
        (POSTGRES, "FATAL:  lock file is empty"),
        (f"{INFO}\n{KAFKA_1}\n{POSTGRES_1}\n", ""),
        ("no such shop\n", "no such shop"),
        ("\n\n", ""),
        ("{cut off", "{cut off"),
        ("Traceback (most recent call last):\n  File x\n", ""),
        ("Traceback (most recent call last):\n  File x\nKeyError\n", "KeyError"),
    ],
)
def test_the_cause_is_the_last_error_or_plain_line(log: str, cause: str, tmp_path: Path) -> None:
    (tmp_path / "log").write_text(log)
    assert last_words(tmp_path / "log") == cause


def test_lines_of_an_earlier_process_are_not_the_cause(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(SQLALCHEMY)
    before = log.stat().st_size
    with log.open("a") as more:
        more.write("no such shop\n")
    assert last_words(log, before) == "no such shop"
    log.write_text("a log that was begun again\n")
    assert last_words(log, before) == "a log that was begun again"


def test_a_missing_or_very_long_log_is_no_error(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert last_words(log) == ""
    log.write_text("x" * 100_000 + "\n" + "y" * 1000)
    assert last_words(log) == "y" * 300


def test_a_real_traceback_ends_in_its_last_exception(tmp_path: Path) -> None:
    program = "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise OSError('no disk') from e"
    with (tmp_path / "log").open("w") as log:
        subprocess.run([sys.executable, "-c", program], stderr=log, check=False)
    assert last_words(tmp_path / "log") == "OSError: no disk"


def test_a_blank_line_in_a_logged_traceback_is_passed_over(tmp_path: Path) -> None:
    raised = "Traceback (most recent call last):\n  at x\n\nDuring this\n\nValueError: the cause"
    log = tmp_path / "streams.log"
    log.write_text(json.dumps({"event": "failed", "level": "error", "exception": raised}))
    assert last_words(log) == "ValueError: the cause"


@given(st.lists(st.text(alphabet='{}"Tra cebk:\n\t[1', max_size=30), max_size=8))
def test_whatever_a_log_holds_the_cause_is_one_line(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    log = tmp_path_factory.getbasetemp() / "any.log"
    start = "Traceback (most recent call last):"
    entry = json.dumps({"level": "error", "exception": "\n".join([start, *lines])})
    log.write_text("\n".join([*lines, start, *lines, entry]))
    assert len(last_words(log).splitlines()) <= 1
