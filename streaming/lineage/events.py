"""Makes OpenLineage events: of each stream, a run per start of its application."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version

from openlineage.client.event_v2 import (
    InputDataset,
    Job,
    OutputDataset,
    Run,
    RunEvent,
    RunState,
    set_producer,
)
from openlineage.client.facet_v2 import RunFacet
from openlineage.client.generated.error_message_run import ErrorMessageRunFacet
from openlineage.client.generated.job_type_job import JobTypeJobFacet
from openlineage.client.uuid import generate_new_uuid

from conf.settings import Settings
from streaming.lineage.datasets import Columns, inputs, outputs
from streaming.registry import StreamEntry

set_producer(f"urn:storelake:{version('storelake')}")


@dataclass(frozen=True)
class JobRun:
    """One run of a job.

    Attributes:
        namespace: of the jobs of this deployment.
        name: of the job.
        processing: `STREAMING` or `BATCH`.
        reads, writes: its datasets, repeated in each event.
    """

    namespace: str
    name: str
    processing: str
    reads: list[InputDataset]
    writes: list[OutputDataset]
    id: str = field(default_factory=lambda: str(generate_new_uuid()))

    def event(self, state: RunState, error: str = "", at: datetime | None = None) -> RunEvent:
        """An event of this run; `error` is one sentence, `at` the time, by default now."""
        facets: dict[str, RunFacet] = {}
        if error:
            facets["errorMessage"] = ErrorMessageRunFacet(error, "Python")
        kind = JobTypeJobFacet(self.processing, "STORELAKE", "JOB")
        return RunEvent(
            eventType=state,
            eventTime=(at or datetime.now(timezone.utc)).isoformat(),
            run=Run(self.id, facets),
            job=Job(self.namespace, self.name, {"jobType": kind}),
            inputs=self.reads,
            outputs=self.writes,
        )


def stream_run(entry: StreamEntry, settings: Settings, columns: Columns) -> JobRun:
    """A run of a stream, which begins now."""
    return JobRun(
        settings.lineage.namespace,
        entry.name,
        "STREAMING",
        [one.as_input() for one in inputs(entry, settings, columns)],
        [one.as_output() for one in outputs(entry, settings, columns)],
    )


def end_event(run: JobRun, state: Mapping[str, str]) -> RunEvent:
    """The last event of a stream, by its state: failed, or complete."""
    failed = state["state"] == "failed"
    return run.event(RunState.FAIL if failed else RunState.COMPLETE, state["detail"])
