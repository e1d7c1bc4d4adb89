"""W3C Trace Context: what is a valid header, and how a chain of calls continues."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conf.traces import Trace

pytestmark = pytest.mark.requirement("M1")

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_a_header_is_read_and_written_as_the_recommendation_has_it() -> None:
    header = f"00-{TRACE}-{SPAN}-01"
    trace = Trace.read(header)

    assert trace == Trace(TRACE, SPAN, "01")
    assert trace.header == header


def test_the_next_step_keeps_the_chain_and_the_flags_and_has_an_id_of_its_own() -> None:
    caller = Trace(TRACE, SPAN, "01")
    step = caller.step()

    assert (step.trace_id, step.flags) == (TRACE, "01")
    assert step.span_id != SPAN
    assert Trace.read(step.header) == step


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    assert Trace.read(f"cc-{TRACE}-{SPAN}-03-what-comes-later") == Trace(TRACE, SPAN, "01")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "nonsense",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-01-more",  # version 00 has no more
        f"ff-{TRACE}-{SPAN}-01",  # the one version that is forbidden
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_what_is_no_header_is_ignored(header: str) -> None:
    assert Trace.read(header) is None


@given(st.text())
def test_no_text_of_a_client_is_an_error(header: str) -> None:
    Trace.read(header)


def test_every_chain_is_another_one() -> None:
    assert len({Trace.begin().trace_id for _ in range(100)}) == 100
    assert all(Trace.read(Trace.begin().header) for _ in range(10))
