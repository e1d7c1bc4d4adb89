"""Log lines: one JSON object each, with the same names in every process."""

from __future__ import annotations

import errno
import io
import json
import logging
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
import structlog

from conf.logs import configure_logging

pytestmark = pytest.mark.requirement("M1")

ALWAYS = {"timestamp", "level", "process", "logger", "event"}


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    configure_logging("streams", "INFO", stream)
    yield stream
    structlog.reset_defaults()
    logging.basicConfig(force=True)


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_both_ways_to_log_have_the_same_names(out: io.StringIO) -> None:
    logging.getLogger("storelake.lake").info("append to %s", "silver.orders")
    structlog.get_logger().info("request")
    plain, structured = lines(out)

    assert plain.keys() == structured.keys() == ALWAYS
    assert (plain["event"], plain["logger"]) == ("append to silver.orders", "storelake.lake")
    assert {plain["process"], structured["process"]} == {"streams"}
    assert {plain["level"], structured["level"]} == {"info"}
    assert datetime.fromisoformat(plain["timestamp"].replace("Z", "+00:00")).tzinfo


def test_what_a_line_is_about_is_a_field_of_its_own(out: io.StringIO) -> None:
    logging.getLogger("storelake.streams").warning("retry", extra={"stream": "footfall"})
    structlog.contextvars.bind_contextvars(trace_id="4bf92f", request_id="till-7")
    structlog.get_logger().info("request")
    structlog.contextvars.clear_contextvars()
    about, request = lines(out)

    assert about["stream"] == "footfall"
    assert (request["trace_id"], request["request_id"]) == ("4bf92f", "till-7")


def test_a_full_disk_costs_the_lines_and_not_the_work() -> None:
    disk = Disk()
    configure_logging("gateway", "INFO", disk)
    try:
        for is_full in (True, False):
            disk.is_full = is_full
            logging.getLogger("storelake.lake").info("append, full: %s", is_full)
            structlog.get_logger().info(f"request, full: {is_full}")
    finally:
        structlog.reset_defaults()
        logging.basicConfig(force=True)
    assert [line["event"] for line in lines(disk)] == [
        "append, full: False",
        "request, full: False",
    ]


class Disk(io.StringIO):
    """A log on a disk."""

    is_full = False

    def write(self, text: str) -> int:
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


def test_an_exception_is_one_line(out: io.StringIO) -> None:
    try:
        raise ValueError("of two\nlines")
    except ValueError:
        logging.getLogger("storelake.streams").exception("it broke")
    (line,) = lines(out)

    assert "ValueError: of two" in line["exception"]
    assert line["event"] == "it broke"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_text_and_a_traceback_that_can_be_read() -> None:
    out = Terminal()
    configure_logging("streams", "INFO", out)
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("storelake.streams").exception("it broke", extra={"stream": "footfall"})
    structlog.get_logger().info("request", status=200, path="/\x1b[2J")
    structlog.reset_defaults()
    logging.basicConfig(force=True)
    plain = re.sub(r"\x1b\[[\d;]*m", "", out.getvalue())

    assert re.search(r"it broke +\[storelake.streams\] process=streams stream=footfall\n", plain)
    assert "\nTraceback (most recent call last):\n  File " in plain
    assert "\nValueError: broken\n" in plain
    assert re.search(r"request +\[streams\] path=/\ufffd\[2J process=streams status=200\n", plain)


def test_lines_below_the_level_are_not_written(out: io.StringIO) -> None:
    logging.getLogger("storelake.streams").debug("nobody asked")
    structlog.get_logger().debug("nobody asked")

    assert out.getvalue() == ""
