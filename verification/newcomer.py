"""`make verify-run`: the path of a newcomer without a person, then alerts, then a cluster.

In a deployment of its own: the demo; everything started in the background; the console read in a
browser; a video and an order, which the console must show; `storelake down`, after which no process
may be left. Then every alert fires in a real Prometheus, and a cluster loses a worker.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from playwright.sync_api import expect

from conf.errors import StorelakeError
from infra.local.passwords import with_local_key, with_secrets
from tests.support.browser import Visitor, chromium, signed_in
from tests.support.processes import processes_of
from verification.deployment import Deployment, Step, new_deployment
from verification.one_order import send_order
from verification.processes import command, run_to_end

ROOT = Path(__file__).parents[1]
PAGES = (
    *("/", "/store", "/live", "/orders"),
    *("/pipeline", "/dead-letters", "/quality", "/zones"),
)
BRANCH = "B01"
STEP_SECONDS = 1200.0
SHOWN_MS = 120_000
ALERT = "test_an_alert_fires"


class StepError(StorelakeError):
    """A step of the path failed; the message has the step and its last lines."""


def verify(step: Step) -> dict[str, Any]:
    """Run it all; returns `ok` and `faults`, one sentence for each thing that does not hold."""
    faults: list[str] = []
    complaints = 0
    with tempfile.TemporaryDirectory(prefix="storelake-run-") as folder:
        deployment = new_deployment(Path(folder), step)
        try:
            complaints = _newcomer(deployment)
        except (StepError, AssertionError) as error:
            faults.append(str(error))
        left = processes_of(Path(folder))
    alerts = [c for c in _tests("integration/test_alerts.py", step) if ALERT in str(c.get("name"))]
    cluster = _tests("e2e/test_cluster.py", step)
    faults += [f"still runs: {one}" for one in left]
    cluster_ok = bool(cluster) and _passed(cluster) == len(cluster)
    return {
        "ok": _passed(alerts) == len(alerts) > 0 and cluster_ok and not complaints and not faults,
        "alerts_fired": _passed(alerts),
        "alerts_total": len(alerts),
        "console_errors": complaints,
        "cluster_ok": cluster_ok,
        "left_running": len(left),
        "faults": faults,
    }


def _newcomer(deployment: Deployment) -> int:
    """Returns how many errors browsers reported.

    Raises:
        StepError: a command failed.
    """
    videos = deployment.settings.var_dir / "films"
    _run(deployment, "doctor")
    _run(deployment, "demo", "--seconds", "20", "--no-console", module="verification")
    try:
        _run(deployment, "up")
        _run(deployment, "status", "--json")
        _run(deployment, "seed", "--days", "3")  # one more than the demo has
        _run(deployment, "logs", "--since", "10m", "--level", "warning")
        _run(deployment, "shop", "render", "--out", str(videos), "--shoppers", "5")
        (video,) = videos.glob(f"{BRANCH}-entrance*.mp4")
        camera = ["--camera", f"{BRANCH}-entrance", "--source", str(video), "--detector", "onnx"]
        _run(deployment, "infer", *camera)
        deployment.step("the console in a browser")
        with chromium() as browser:
            settings = deployment.settings
            visitor = Visitor(browser, settings.console.url, signed_in(settings))
            return _browse(visitor, deployment)
    finally:
        _run(deployment, "down")


def _run(deployment: Deployment, *arguments: str, module: str = "cli.main") -> None:
    deployment.step(" ".join(arguments))
    done = run_to_end(command(arguments, deployment.environment, module), STEP_SECONDS, cwd=ROOT)
    if done.code:
        raise StepError(f"{arguments[0]} ended with {done.code}: {done.last_lines()}")


def _browse(visitor: Visitor, deployment: Deployment) -> int:
    """Read every page, and wait until a new order is shown."""
    for path in PAGES:
        expect(visitor.open(path).locator("h1")).to_be_visible(timeout=SHOWN_MS)
    orders = visitor.open("/").locator(f"#branch-{BRANCH} .orders")
    expect(orders).not_to_be_empty(timeout=SHOWN_MS)
    before = int(orders.inner_text().replace(",", ""))
    send_order(with_local_key(with_secrets(deployment.settings)), BRANCH)
    expect(orders).to_have_text(f"{before + 1:,}", timeout=SHOWN_MS)
    return len(visitor.complaints) + len(visitor.elsewhere)


def _tests(path: str, step: Step) -> list[ElementTree.Element]:
    """Run a file of tests; returns its cases."""
    step(path)
    with tempfile.NamedTemporaryFile(suffix=".xml") as report:
        pytest = [sys.executable, "-m", "pytest", f"tests/{path}", "-q"]
        command = [*pytest, f"--junitxml={report.name}"]
        subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=False)
        return list(ElementTree.parse(report.name).getroot().iter("testcase"))  # noqa: S314 (ours)


def _passed(cases: list[ElementTree.Element]) -> int:
    """How many passed: neither failed nor skipped."""
    return sum(1 for case in cases if not len(case))
