"""Footfall reaches the lake while the streams run, without their interval tasks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from infra.local.process import wait_until
from streaming.jobs import footfall
from tests.stream.sandbox import Sandbox
from tests.support.builders import detection_event


def test_footfall_is_in_the_lake_before_any_interval_task(
    new_sandbox: Callable[..., Sandbox],
) -> None:
    sandbox = new_sandbox()
    sandbox.send_frame(*(detection_event(frame_index=index) for index in range(3)))
    copied: list[bool] = []

    def wait_for_the_copy() -> None:
        copied.append(wait_until(lambda: bool(sandbox.lake("gold.footfall_minute")), 60))

    without_interval_task = replace(footfall.STREAM, on_interval=None)
    sandbox.run_streams([without_interval_task], steps=[wait_for_the_copy])

    assert copied == [True]
    (minute,) = sandbox.lake("gold.footfall_minute")
    assert minute["frames"] == 3
