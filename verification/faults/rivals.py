"""A second application on the same streams: refused, or with `--take-over` the only one."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

from infra.local.process import tail, wait_until
from infra.local.streams import read_streams
from verification.faults.deployment import SupervisedDeployment, now
from verification.faults.fault import READY_SECONDS, Fired, gone, require
from verification.processes import TIMED_OUT, Ended, command, run_to_end

ROOT = Path(__file__).parents[2]
JOB = "streaming/jobs/order_event_processor.py"
REFUSED_SECONDS = 90.0
FENCED_SECONDS = 30.0
MUST_NAME = ("order_event_processor", "since", "storelake stop streams", "--take-over")


def submit(environment: Mapping[str, str], var_dir: Path, seconds: float) -> Ended:
    """The two commands of README.md: `storelake spark-conf`, then `spark-submit` of one job.

    Args:
        environment: variables of the deployment, on top of our own.
        var_dir: its folder.
        seconds: until the job is killed (exit code 124).
    """
    conf = var_dir / "spark.conf"
    conf.write_text(
        run_to_end(command(["spark-conf"], environment), seconds).output, encoding="utf-8"
    )
    ours = {**environment, "PYTHONPATH": str(ROOT), "PYSPARK_PYTHON": sys.executable}
    named = [f"{name}={value}" for name, value in ours.items()]
    spark = str(Path(sys.executable).with_name("spark-submit"))
    arguments = ["env", *named, spark, "--properties-file", str(conf), JOB]
    return run_to_end(arguments, seconds, cwd=ROOT)


def complaints(ended: Ended, holder: int) -> list[str]:
    """What a rejection lacks: an exit code, a sentence with the holder, the time and a way out.

    Args:
        ended: the second application.
        holder: pid of the first one.
    """
    if ended.code == TIMED_OUT:
        return [f"the second application ran for {ended.seconds:.0f} s"]
    if ended.code == 0:
        return ["the second application ended with exit code 0"]
    sentence = rejection(ended)
    lacks = [text for text in (*MUST_NAME, str(holder)) if text not in sentence]
    return [f"the rejection does not name {', '.join(lacks)}: {sentence}"] if lacks else []


def rejection(ended: Ended) -> str:
    """The line that names the way out; else the last line."""
    lines = [line for line in ended.output.splitlines() if "--take-over" in line]
    return lines[-1].strip()[:600] if lines else ended.last_lines(1)


def second_application(deployment: SupervisedDeployment) -> Fired:
    """README's own `spark-submit` beside the running streams."""
    first = require(deployment, "streams")
    since = now()
    deployment.step("a second application by spark-submit")
    ended = submit(deployment.environment, deployment.settings.var_dir, REFUSED_SECONDS)
    broken = complaints(ended, first.pid)
    if deployment.find("streams") != first:
        broken.append("the first application ended")
    observed = f"exit code {ended.code} after {ended.seconds:.0f} s: {rejection(ended)}"
    return Fired(observed, since, broken)


def take_over(deployment: SupervisedDeployment) -> Fired:
    """`storelake run --take-over` beside the running streams: the first one is fenced and ends."""
    first = require(deployment, "streams")
    log = deployment.settings.var_dir / "logs" / "streams.log"
    deployment.step("a second application takes over")
    with deployment.run("streams-second", "run", "--take-over") as second:

        def runs() -> bool:
            reported = read_streams(deployment.settings.var_dir) or {}
            return reported.get("pid") == second.pid and deployment.ready()

        wait_until(lambda: second.poll() is not None or runs(), READY_SECONDS, every=0.5)
        broken = [] if runs() else ["the second application does not run"]
        broken += [] if gone(first, FENCED_SECONDS) else [f"pid {first.pid} still runs streams"]
        words = fenced_words(log)
        broken += [] if words else ["the log of the first application does not name the reason"]
        observed = (
            f"pid {second.pid} took over from pid {first.pid}: {words or 'nothing in its log'}"
        )
    deployment.restart_streams()
    return Fired(observed, now(), broken)


def fenced_words(log: Path) -> str:
    """The last line of a log about an application that has taken streams over; else empty."""
    lines = [line for line in tail(log, 400) if re.search(r"\btook\b|\btaken over\b|fenced", line)]
    return lines[-1][-300:] if lines else ""
