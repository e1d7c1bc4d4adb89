"""What tests without a JVM share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from conf.settings import CONF_DIR, load_settings
from conf.stores import Stores, load_stores
from gateway.producer import MemoryPublisher

if TYPE_CHECKING:
    from quality.engines import Engines


@pytest.fixture(scope="session")
def stores() -> Stores:
    """The chain of the demo: B01, B02, B03."""
    return load_stores(CONF_DIR / "stores" / "demo.toml")


@pytest.fixture
def broker() -> MemoryPublisher:
    """A broker that acknowledges within 50 ms or not at all."""
    return MemoryPublisher(ack_timeout=0.05)


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    from quality.engines import Engines  # noqa: PLC0415 - seconds, for those who validate

    with closing(Engines(load_settings(var_dir=tmp_path_factory.mktemp("var")))) as made:
        yield made
