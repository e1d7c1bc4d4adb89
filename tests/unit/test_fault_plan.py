"""The faults of `make verify-faults`: their page, their messages, what a rejection must name."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from conf.errors import StorelakeError
from quality.reconciliation import Difference, Reconciliation
from tests.support.builders import order_event
from verification.faults.deployment import is_driver
from verification.faults.fault import Result
from verification.faults.messages import odd_messages
from verification.faults.plan import FAULTS, chosen
from verification.faults.raw_kafka import Record
from verification.faults.rivals import complaints, fenced_words
from verification.faults.run import report
from verification.faults.state import delete_newest_commits
from verification.processes import Ended

PAGE = Path(__file__).parents[2] / "docs" / "RELIABILITY.md"


def test_the_page_lists_every_fault() -> None:
    rows = [f"| `{f.name}` | {f.title} " for f in FAULTS]
    section = PAGE.read_text().split("## The faults")[1].split("## ")[0]
    listed = [line for line in section.splitlines() if line.startswith("| `")]
    assert [line[: line.rindex("|", 0, -2)] for line in listed] == rows


def test_names_choose_faults_in_the_order_of_the_table() -> None:
    assert chosen([]) == list(FAULTS)
    assert [f.name for f in chosen(["terminate", "kill-jvm"])] == ["kill-jvm", "terminate"]
    with pytest.raises(StorelakeError, match="kill-printer is no fault; there are kill-gateway"):
        chosen(["kill-printer"])


# -- a second application --------------------------------------------------------------------------

REJECTION = (
    "order_event_processor is held by pid 77 on till since 2024-05-01T10:00:00Z: run "
    "`storelake stop streams`, or pass --take-over."
)


def test_a_rejection_names_stream_holder_time_and_both_ways_out() -> None:
    assert complaints(Ended(1, f"warning\n{REJECTION}\n", 9.0), 77) == []


@pytest.mark.parametrize(
    ("ended", "complaint"),
    [
        (Ended(124, "", 90.0), "the second application ran for 90 s"),
        (Ended(0, REJECTION, 9.0), "the second application ended with exit code 0"),
        (Ended(1, REJECTION.replace("77", "78"), 9.0), "the rejection does not name 77"),
        (Ended(1, REJECTION.replace("since", "at"), 9.0), "the rejection does not name since"),
        (Ended(1, "Traceback", 9.0), "the rejection does not name order_event_processor, since"),
    ],
)
def test_a_rejection_that_lacks_something_is_named(ended: Ended, complaint: str) -> None:
    (found,) = complaints(ended, 77)
    assert found.startswith(complaint)


def test_the_line_about_a_take_over_is_found_in_a_log(tmp_path: Path) -> None:
    log = tmp_path / "streams.log"
    assert fenced_words(log) == ""
    log.write_text("batch 7 took 0.2\npid 78 on till has taken over footfall\nthe end\n")
    assert fenced_words(log) == "pid 78 on till has taken over footfall"


@pytest.mark.parametrize(
    ("words", "driver"),
    [
        (["python", "-m", "cli.main", "run"], True),
        (["python", "-m", "cli.main", "gateway"], False),
        (["python", "/src/streaming/jobs/order_event_processor.py"], True),
        (["/usr/bin/java", "org.apache.spark.deploy.SparkSubmit", "streaming/jobs/x.py"], False),
    ],
)
def test_drivers_are_found_by_their_command_line(words: list[str], driver: bool) -> None:
    assert is_driver(words) is driver


# -- odd messages ----------------------------------------------------------------------------------


EVENT = order_event()


NOW = 1_714_557_600_000


def odd(seed: int = 1) -> dict[str, Record]:
    return odd_messages(EVENT, b"O-1", random.Random(seed), NOW)


def test_each_kind_of_odd_message_is_there_once_and_is_another_record() -> None:
    assert len({repr(record) for record in odd().values()}) == len(odd()) >= 20


def test_the_same_seed_draws_the_same_messages() -> None:
    assert odd(1) == odd(1) != odd(2)


def test_a_message_that_is_odd_beside_its_value_is_a_valid_event_with_an_id_of_its_own() -> None:
    beside = [one for one in odd().values() if one.timestamp != NOW or one.headers]
    events = [json.loads(record.value or b"") for record in beside]
    assert len({event["event_id"] for event in events}) == len(beside) == 8
    assert all({**event, "event_id": EVENT["event_id"]} == EVENT for event in events)


# -- files and the report --------------------------------------------------------------------------


def test_the_newest_commit_of_each_checkpoint_is_deleted(tmp_path: Path) -> None:
    for query, newest in (("a", 9), ("b", 11)):
        commits = tmp_path / query / "commits"
        commits.mkdir(parents=True)
        for number in range(newest + 1):
            (commits / str(number)).touch()
            (commits / f".{number}.crc").touch()
    assert delete_newest_commits(tmp_path) == "commits 9, 11 deleted"
    left = {f.name for f in (tmp_path / "b" / "commits").iterdir()}
    assert "10" in left
    assert not {"11", ".11.crc"} & left


GOOD = Result("kill-jvm", "SIGKILL", observed="pid 1 is gone", recovery_seconds=3.0)


@pytest.mark.parametrize(
    ("results", "differences", "ok"),
    [
        ([GOOD], (), True),
        ([GOOD], ("one row twice",), False),
        ([Result("kill-jvm", "SIGKILL", observed="")], (), False),
        ([Result("kill-jvm", "SIGKILL", observed="x", broken=["no commit"])], (), False),
        ([], (), False),
    ],
)
def test_a_run_is_ok_when_each_fault_fired_and_recovered_and_nothing_differs(
    results: list[Result], differences: tuple[str, ...], ok: bool
) -> None:
    found = Reconciliation({"sent": 1}, tuple(Difference("doubled", d) for d in differences))
    content = report(results, found, 1)
    assert content["ok"] is ok
    assert json.loads(json.dumps(content)) == content
