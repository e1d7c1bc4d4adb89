"""The faults of `make verify-faults`: their page, their messages, what a rejection must name."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from conf.errors import StorelakeError
from quality.reconciliation import Difference, Reconciliation
from tests.support.builders import order_event
from verification.faults.deployment import TITLES, is_driver
from verification.faults.fault import Result
from verification.faults.kills import QUICK, SLOW
from verification.faults.messages import odd_messages
from verification.faults.plan import Extent, chosen
from verification.faults.raw_kafka import Record
from verification.faults.rivals import complaints, fenced_words
from verification.faults.run import merged, report, summary
from verification.faults.state import delete_newest_commits
from verification.processes import Ended


def test_names_and_groups_choose_faults_in_the_order_of_the_matrix() -> None:
    assert [f.name for f in chosen(["terminate", "kill-jvm"])] == ["kill-jvm", "terminate"]
    assert {f.group for f in chosen(groups=["s3", "disks"])} == {"s3", "disks"}
    assert len(chosen(["kill-jvm"], ["s3"])) == 1 + len(chosen(groups=["s3"]))
    with pytest.raises(StorelakeError, match="kill-printer is no fault; there are kill-gateway"):
        chosen(["kill-printer"])


def test_each_of_six_processes_is_killed_so_many_times_in_an_order_of_the_seed() -> None:
    faults = chosen(groups=["kills"], extent=Extent(times=20, seed=3))
    titles = [fault.title for fault in faults]
    named = Counter(name for title in titles for name in TITLES.values() if name in title)
    assert {named[TITLES[name]] for name in (*SLOW, *QUICK)} == {20}
    assert titles != [f.title for f in chosen(groups=["kills"], extent=Extent(times=20, seed=4))]


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


def test_results_of_a_fault_that_is_injected_often_are_one_row() -> None:
    often = [
        replace(GOOD, name="random-kills", recovery_seconds=took) for took in (9.0, 20.0, 61.4)
    ]
    missed = Result("full-lake", "the disk is full", skipped="mounting needs root")
    parts = [report(often, Reconciliation({"sent": 2}), 1), report([missed], Reconciliation(), 1)]
    content = merged([{**part, "seconds": 60} for part in parts])
    assert content["ok"]
    assert summary(content["results"]) == [
        ("random-kills", "SIGKILL; 2 more of this kind", "3 of 3", "20, at most 61"),
        ("full-lake", "the disk is full", "skipped", ""),
    ]
