"""A real Prometheus for tests, with the rules of the product on a clock that runs faster."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from infra.local.process import wait_until

RULES = Path(__file__).parents[2] / "infra/prometheus/rules"
SCRAPE = "200ms"
SHORTEST_RANGE = 2.0
"""Seconds: a rate needs two samples, also on a machine that is busy."""
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def tool(name: str) -> str:
    """Path of a program of Prometheus; without it the test is skipped, and fails in CI."""
    found = shutil.which(name)
    if found is None:
        why = f"{name} is not here: install prometheus and prometheus-alertmanager of Debian"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    return found


def read_alerts() -> list[dict[str, Any]]:
    """Every alert of the product."""
    documents = [yaml.safe_load(f.read_text(encoding="utf-8")) for f in sorted(RULES.glob("*.yml"))]
    return [rule for doc in documents for group in doc["groups"] for rule in group["rules"]]


def faster(duration: str, scale: float, least: float = 0.0) -> str:
    """`10m` for a clock that runs `scale` times as fast."""
    number, unit = int(duration[:-1]), duration[-1]
    return f"{max(round(1000 * number * SECONDS[unit] / scale), round(1000 * least))}ms"


def faster_rules(scale: float) -> dict[str, Any]:
    """All alerts in one document, every `for` and range so much shorter, the rest as it is."""
    rules = read_alerts()
    for rule in rules:
        rule["expr"] = re.sub(
            r"\[(\d+[smhd])\]",
            lambda found: f"[{faster(found[1], scale, SHORTEST_RANGE)}]",
            rule["expr"],
        )
        if "for" in rule:
            rule["for"] = faster(rule["for"], scale)
    return {"groups": [{"name": "all", "interval": SCRAPE, "rules": rules}]}


@dataclass(frozen=True)
class Prometheus:
    """A running server."""

    client: httpx.Client

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an instant query; a wrong one fails the test with the server's error."""
        answer = self.client.get("/api/v1/query", params={"query": expression}).json()
        assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def firing(self) -> set[str]:
        """The alerts that fire now."""
        answer = self.client.get("/api/v1/alerts").json()
        return {
            alert["labels"]["alertname"]
            for alert in answer["data"]["alerts"]
            if alert["state"] == "firing"
        }


@contextmanager
def prometheus(
    folder: Path, port: int, jobs: Mapping[str, int], scale: float
) -> Iterator[Prometheus]:
    """Run a server that scrapes one local port per job, with the faster rules."""
    config = {
        "global": {"scrape_interval": SCRAPE, "evaluation_interval": SCRAPE},
        "rule_files": ["rules.yml"],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{at}"]}]}
            for job, at in jobs.items()
        ],
    }
    (folder / "rules.yml").write_text(yaml.safe_dump(faster_rules(scale)), encoding="utf-8")
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    with (folder / "prometheus.log").open("wb") as log:
        server = subprocess.Popen(
            [
                tool("prometheus"),
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
                assert wait_until(lambda: _is_ready(client), 60), log.name
                yield Prometheus(client)
        finally:
            server.terminate()
            server.wait(30)


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/-/ready").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
