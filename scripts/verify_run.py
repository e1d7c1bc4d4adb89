"""What `make verify-run` runs: a newcomer's path without a person, then alerts, then a cluster.

In a house of its own, in a new folder with free ports: the demo; everything started and kept
running; the console read in a browser; a video and an order of one's own, of which the order must
show on the console; the way down, after which nothing may be left. Then every alert fires in a real
Prometheus, and a cluster loses a worker. The last line is JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import uuid
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import psutil
import typer
from playwright.sync_api import expect

from cli.check.house import own_house
from cli.processes import command, gateway_url
from conf.settings import Settings
from tests.support.browser import Visitor, chromium
from tests.support.builders import order_event

ROOT = Path(__file__).parents[1]
PAGES = ("/", "/store", "/orders", "/pipeline", "/quality")
BRANCH = "B01"
SETTLE_MS = 120_000
ALERT = "test_an_alert_fires"


class Step(Exception):  # noqa: N818 - said to people
    """A step of the path did not end well; the message says which, and its last words."""


def tell(what: str) -> None:
    """Progress, for who waits."""
    typer.echo(f"{datetime.now(timezone.utc):%H:%M:%S} {what}", err=True)


def storelake(environment: dict[str, str], *arguments: str) -> str:
    """A command of the newcomer; its standard output.

    Raises:
        Step: it ended with another code than 0.
    """
    tell("storelake " + " ".join(arguments))
    done = subprocess.run(
        command(arguments, environment),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = " | ".join((done.stdout + done.stderr).strip().splitlines()[-3:])
        raise Step(f"storelake {arguments[0]} ended with {done.returncode}: {last}")
    return done.stdout


def newcomer(settings: Settings, environment: dict[str, str]) -> int:
    """The path; returns how many complaints browsers had.

    Raises:
        Step: where it ended early.
    """
    films = settings.var_dir / "films"
    storelake(environment, "demo", "--seconds", "20", "--no-console")
    try:
        storelake(environment, "up")
        storelake(environment, "status", "--json")
        storelake(environment, "shop", "render", "--out", str(films), "--shoppers", "5")
        (video,) = films.glob(f"{BRANCH}-entrance*.mp4")
        camera = ("--camera", f"{BRANCH}-entrance", "--source", str(video))
        storelake(environment, "infer", *camera)
        tell("the console in a browser")
        with chromium() as browser:
            return look(Visitor(browser, settings.console.url), settings)
    finally:
        storelake(environment, "down")


def look(visitor: Visitor, settings: Settings) -> int:
    """Read every page, and see an order come in."""
    for path in PAGES:
        expect(visitor.open(path).locator("h1")).to_be_visible(timeout=SETTLE_MS)
    orders = visitor.open("/").locator(f"#branch-{BRANCH} .orders")
    expect(orders).not_to_be_empty(timeout=SETTLE_MS)
    before = int(orders.inner_text().replace(",", ""))
    sell(settings)
    expect(orders).to_have_text(f"{before + 1:,}", timeout=SETTLE_MS)
    return len(visitor.complaints) + len(visitor.elsewhere)


def sell(settings: Settings) -> None:
    """An order of one's own, through the gateway."""
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    number = uuid.uuid4()
    event = order_event(
        order_id=f"mine-{number}",
        event_id=str(number),
        branch_id=BRANCH,
        created_at=now,
        event_time=now,
    )
    answer = httpx.post(
        f"{gateway_url(settings)}/api/kafka/events/order-created", json=event, trust_env=False
    )
    if answer.is_error:
        raise Step(f"the gateway refuses an order: {answer.status_code} {answer.text}")


def left_running(folder: Path) -> list[str]:
    """Processes that have to do with the house."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), process.environ().get("STORELAKE_VAR_DIR", "")]
        except psutil.Error:
            continue
        if process.pid != os.getpid() and any(str(folder) in word for word in words):
            found.append(" ".join(words)[:200])
    return found


def tests(path: str) -> list[ElementTree.Element]:
    """Run a file of tests; its cases."""
    tell(path)
    with tempfile.NamedTemporaryFile(suffix=".xml") as report:
        pytest = [sys.executable, "-m", "pytest", path, "-q", f"--junitxml={report.name}"]
        subprocess.run(pytest, cwd=ROOT, stdout=sys.stderr, check=False)
        return list(ElementTree.parse(report.name).getroot().iter("testcase"))  # noqa: S314 (ours)


def passed(cases: list[ElementTree.Element]) -> int:
    """How many passed: neither failed nor skipped."""
    return sum(1 for case in cases if not len(case))


def main() -> int:
    """Run it all and print the result; the exit code."""
    faults: list[str] = []
    complaints = 0
    with tempfile.TemporaryDirectory(prefix="storelake-run-") as folder:
        settings, environment = own_house(Path(folder))
        try:
            complaints = newcomer(settings, environment)
        except (Step, AssertionError) as error:
            faults.append(str(error))
        left = left_running(Path(folder))
    alerts = [c for c in tests("tests/integration/test_alerts.py") if ALERT in str(c.get("name"))]
    cluster = tests("tests/e2e/test_cluster.py")
    result: dict[str, Any] = {
        "alerts_fired": passed(alerts),
        "alerts_total": len(alerts),
        "console_errors": complaints,
        "cluster_ok": bool(cluster) and passed(cluster) == len(cluster),
        "left_running": len(left),
        "faults": faults + [f"still runs: {one}" for one in left],
    }
    whole = result["alerts_fired"] == result["alerts_total"] > 0 and result["cluster_ok"]
    ok = bool(whole) and not complaints and not result["faults"]
    typer.echo(json.dumps({"ok": ok, **result}))
    return 0 if ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
