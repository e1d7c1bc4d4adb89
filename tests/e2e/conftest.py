"""End-to-end tests use brokers with the access control that a deployment has."""

from __future__ import annotations

from collections.abc import Mapping
from secrets import token_urlsafe

import pytest


@pytest.fixture(scope="session")
def environment(environment: Mapping[str, str]) -> Mapping[str, str]:
    """That of the other suites, with users at the brokers, whose secret all folders share."""
    secured = {"KAFKA__SECURITY": "sasl_plaintext", "PULSAR__SECURITY": "token"}
    secured["KAFKA__SECRET"] = token_urlsafe(24)
    return {**environment, **{f"STORELAKE_{name}": value for name, value in secured.items()}}
