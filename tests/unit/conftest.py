"""What tests without a JVM share."""

from __future__ import annotations

import pytest

from conf.settings import CONF_DIR
from conf.stores import Stores, load_stores


@pytest.fixture(scope="session")
def stores() -> Stores:
    """The chain of the demo: B01, B02, B03."""
    return load_stores(CONF_DIR / "stores" / "demo.toml")
