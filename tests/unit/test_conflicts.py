"""Commits that another one came before."""

from __future__ import annotations

import logging
import time

import pytest

from streaming.lake.conflicts import ATTEMPTS, CONFLICT, retry_on
from streaming.lake.protocol import LakeError


def test_a_commit_that_never_comes_first_ends_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)

    @retry_on(BlockingIOError)
    def commit() -> None:
        raise BlockingIOError

    with (
        caplog.at_level(logging.INFO, "storelake.lake"),
        pytest.raises(LakeError, match=f"commit: {CONFLICT}, {ATTEMPTS} times in a row") as found,
    ):
        commit()
    assert isinstance(found.value.__cause__, BlockingIOError)
    assert len(waits) == caplog.text.count(CONFLICT) == ATTEMPTS - 1
    assert max(waits) <= 2


def test_another_error_is_not_tried_again() -> None:
    calls = []

    @retry_on(BlockingIOError)
    def commit() -> None:
        calls.append(1)
        raise KeyError

    with pytest.raises(KeyError):
        commit()
    assert calls == [1]
