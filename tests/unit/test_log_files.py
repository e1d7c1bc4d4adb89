"""`storelake logs`: every writer's lines, merged by time, through all that happens to files."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from cli.main import app
from infra.errors import ServiceError
from infra.local import log_files as logs
from infra.local.daemon import Daemon
from infra.local.log_lines import LogEntry, parse_entries
from infra.local.log_output import _lines

pytestmark = pytest.mark.requirement("M1")

START = datetime(2026, 11, 30, 6, 0, tzinfo=timezone.utc)


def line(seconds: float, event: str, level: str = "info", **fields: object) -> str:
    at = (START + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
    return json.dumps({"event": event, "level": level, "timestamp": at, **fields})


def events(entries: list[LogEntry]) -> list[str]:
    return [f"{entry.log}:{entry.event}" for entry in entries]


@pytest.mark.parametrize(
    ("text", "second", "level", "event"),
    [
        (line(1.5, "request", status=200), 1.5, "info", "request"),
        (line(1, "old", "WARN"), 1, "warning", "old"),
        ("2026-11-30 06:00:02.250 UTC [93] LOG:  is ready", 2.25, "info", "is ready"),
        ("2026-11-30 06:00:02.250 UTC [93] FATAL:  no such role", 2.25, "critical", "no such role"),
        (
            "2026-11-30T06:00:03,125Z WARN [Broker] activation",
            3.125,
            "warning",
            "[Broker] activation",
        ),
        ("2026-11-30T06:00:04.5Z\tERROR\tmain\tio.trino.Server\tfailed", 4.5, "error", None),
        (
            f"%3|{START.timestamp() + 5:.3f}|FAIL|rdkafka#1| refused",
            5,
            "error",
            "FAIL|rdkafka#1| refused",
        ),
    ],
)
def test_every_writer_s_lines_have_a_time_and_a_level(
    text: str, second: float, level: str, event: str | None
) -> None:
    (entry,) = parse_entries("kafka", [text])
    assert entry.at == START + timedelta(seconds=second)
    assert entry.level == level
    assert event in (None, entry.event)


def test_a_traceback_belongs_to_its_entry_and_half_a_line_to_nobody() -> None:
    statement = "2026-11-30 06:00:02 UTC [93] STATEMENT:  SELECT 1\n\tFROM nothing"
    failed = "2026-11-30 06:00:02 UTC [93] ERROR:  no relation"
    trace = "Traceback (most recent call last):\n  File x\nValueError: broken"
    lines = [
        failed,
        *statement.splitlines(),
        "",
        line(3, "failed", exception=trace),
        '{"event": "ha',
    ]
    postgres, ours, half = parse_entries("postgres", lines)

    assert len(postgres.more) == 2
    assert ours.more == trace.splitlines()
    assert (half.event, half.level, half.at) == ('{"event": "ha', "", ours.at)
    assert [one.reaches("warning") for one in (postgres, ours, half)] == [True, False, True]


@pytest.mark.parametrize(
    "foreign",
    [
        '{"a": 1}',
        '{"timestamp": 1, "level": "info", "event": "x"}',
        '{"timestamp": "0001-01-01T00:00:00+01:00", "level": "info", "event": "x"}',
        "9999-12-31 23:59:59-01:00 INFO x",
        "%3|99999999999999999.1|FAIL|x",
        '{"timestamp": ' + "[" * 100_000,
    ],
)
def test_a_line_that_nobody_writes_is_shown_as_it_is(foreign: str) -> None:
    first, entry = parse_entries("kafka", [line(1, "before"), foreign])
    assert (entry.event, entry.level, entry.at) == (foreign, "", first.at)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "kafka.log.1").write_text("2026-11-30T06:00:00,000Z INFO rotated away\n")
    (tmp_path / "kafka.log").write_text("2026-11-30T06:00:02,000Z INFO started\n")
    lines = [line(n, f"request {n}", "error" if n == 3 else "info") for n in range(5)]
    (tmp_path / "gateway.log").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_logs_are_merged_by_time(folder: Path) -> None:
    ends = logs.sizes(logs.log_files(folder))
    since = START + timedelta(seconds=2)
    assert events(logs.last_entries(ends, 2)) == [
        *("kafka:rotated away", "kafka:started", "gateway:request 3", "gateway:request 4")
    ]
    assert events(logs.last_entries(ends, None, since)) == [
        *("gateway:request 2", "kafka:started", "gateway:request 3", "gateway:request 4")
    ]
    assert events(logs.last_entries(ends, 1, since)) == ["kafka:started", "gateway:request 4"]
    assert logs.last_entries(ends, 0) == []


def test_a_long_log_is_read_from_its_end(folder: Path) -> None:
    long = folder / "streams.log"
    long.write_text("\n".join(line(n, "x" * 100) for n in range(2000)) + "\n")
    ends = logs.sizes([long])
    assert len(logs.last_entries(ends, 1500)) == 1500
    assert len(logs.last_entries(ends, None, START + timedelta(seconds=1990))) == 10
    assert len(logs.last_entries(ends, None, START - timedelta(days=1))) == 2000


def test_a_block_that_begins_inside_a_traceback_is_not_older_than_the_log(folder: Path) -> None:
    long, trace = folder / "pulsar.log", "\tat org.example.Method(Method.java:120)\n" * 3
    stamps = [f"{START + timedelta(seconds=n):%Y-%m-%d %H:%M:%S},000Z" for n in range(1000)]
    long.write_text("".join(f"{stamp} ERROR failed\n{trace}" for stamp in stamps))
    found = logs.last_entries(logs.sizes([long]), None, START)
    assert [one.event for one in found] == ["failed"] * 1000


def followed(folder: Path, names: tuple[str, ...] = ()) -> Iterator[LogEntry]:
    return logs.follow(folder, names, logs.ends_of_lines(logs.log_files(folder, names)))


def test_a_log_is_followed_through_whatever_happens_to_its_file(folder: Path) -> None:
    file, new = folder / "gateway.log", followed(folder)
    with file.open("a") as writer:
        writer.write(line(6, "whole") + "\n" + line(7, "in two halves")[:20])
        writer.flush()
        assert events([next(new)]) == ["gateway:whole"]
        writer.write(line(7, "in two halves")[20:] + "\n" + line(8, "last of the old file"))
    file.rename(folder / "gateway.log.1")
    file.write_text(line(9, "first of a file that is longer " + "x" * 3000) + "\n")
    (folder / "console.log").write_text(line(10, "of a process that starts later") + "\n")
    found = [next(new).event[:30] for _ in range(4)]
    assert found == [
        *("in two halves", "last of the old file", "first of a file that is longer"),
        "of a process that starts later",
    ]
    file.write_text(line(11, "truncated") + "\n")
    assert next(new).event == "truncated"
    file.unlink()
    file.write_text(line(12, "deleted") + "\n")
    assert next(new).event == "deleted"


def test_a_large_log_is_set_aside_while_its_process_appends_to_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.local.daemon.LARGEST_LOG_BYTES", 100)
    gateway, new = Daemon("gateway", folder, folder), followed(folder)
    with gateway.log_file.open("a") as writer:
        gateway.rotate_log()
        writer.write(line(6, "after it") + "\n")
    assert next(new).event == "after it"
    ends = logs.sizes([gateway.log_file])
    assert [one.event for one in logs.last_entries(ends, 2)] == ["request 4", "after it"]


def test_what_is_written_between_a_poll_and_a_rotation_is_followed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.local.daemon.LARGEST_LOG_BYTES", 100)
    gateway, new = Daemon("gateway", folder, folder), followed(folder)
    with gateway.log_file.open("a") as writer:
        for text in ("polled", "before it"):
            writer.write(line(6, text) + "\n")
            writer.flush()
            if text == "polled":
                assert next(new).event == "polled"
        gateway.rotate_log()
        writer.write(line(7, "after it") + "\n")
    assert [next(new).event for _ in range(2)] == ["before it", "after it"]
    gateway.log_file.write_text("")
    gateway.log_file.write_text(line(8, "new") + "\n")
    assert next(new).event == "new", "the copy is not read again"


def test_the_command_filters_and_prints_for_people_and_for_programs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "logs").mkdir()
    (folder / "gateway.log").rename(folder / "logs" / "gateway.log")
    (folder / "kafka.log").rename(folder / "logs" / "kafka.log")
    monkeypatch.setenv("STORELAKE_VAR_DIR", str(folder))
    out = io.StringIO()
    monkeypatch.setattr("infra.local.log_output.console", lambda: Console(file=out, width=40))
    CliRunner().invoke(app, ["logs", "--level", "warning"], catch_exceptions=False)
    CliRunner().invoke(app, ["logs", "kafka", "--json"], catch_exceptions=False)
    text, parsed = out.getvalue().splitlines()

    assert text == "gateway | Nov 30 06:00:03.000 error    request 3"
    assert json.loads(parsed)["event"] == "started"


def test_no_line_moves_the_cursor_of_a_terminal() -> None:
    out = io.StringIO()
    entry = LogEntry("gateway", None, "info", "got \x1b[2J", {"path": "/\x1b]0;x\x07"}, ["\x9b1A"])
    Console(file=out).print(*_lines(entry))
    assert not {"\x1b", "\x9b", "\x07"} & set(out.getvalue())


def test_half_a_surrogate_pair_is_printed(folder: Path) -> None:
    (entry,) = parse_entries("gateway", [line(1, "no file \udcff", path="\ud800")])
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    Console(file=out, width=80).print(*_lines(entry))
    print(entry.as_json(), file=out)
    assert json.loads(entry.as_json())["path"] == "\ud800"


def test_a_log_that_is_not_there_is_named(folder: Path) -> None:
    assert [one.stem for one in logs.log_files(folder, ["kafka", "gateway"])] == [
        "kafka",
        "gateway",
    ]
    with pytest.raises(ServiceError, match="no log named run; known: gateway, kafka"):
        logs.log_files(folder, ["run"])
