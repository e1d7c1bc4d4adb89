"""A validation run as OpenLineage events: each table with the assertions made on it."""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter

from openlineage.client.event_v2 import InputDataset, RunEvent, RunState
from openlineage.client.generated.data_quality_assertions_dataset import (
    Assertion,
    DataQualityAssertionsDatasetFacet,
)

from conf.settings import Settings
from quality.results import Result
from quality.run import QualityRun
from streaming.lineage.datasets import table
from streaming.lineage.events import JobRun

JOB = "quality"


def run_events(settings: Settings, done: QualityRun) -> list[RunEvent]:
    """START and COMPLETE of a run: it is complete also where the data is not as expected."""
    results = sorted(done.results, key=attrgetter("table"))
    reads = [
        _validated(settings, name, list(of_table))
        for name, of_table in groupby(results, key=attrgetter("table"))
    ]
    run = JobRun(settings.lineage.namespace, JOB, "BATCH", reads, [])
    return [run.event(RunState.START, at=done.at), run.event(RunState.COMPLETE)]


def _validated(settings: Settings, name: str, results: list[Result]) -> InputDataset:
    assertions = [
        Assertion(
            assertion=one.kind,
            success=one.success,
            severity="error" if one.severity == "critical" else "warn",
            name=one.id,
            description=one.says or None,
            actual=one.observed,
        )
        for one in results
    ]
    facet = DataQualityAssertionsDatasetFacet(assertions)
    return table(settings, name, {}).as_input({"dataQualityAssertions": facet})
