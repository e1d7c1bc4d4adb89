"""The log in a folder keeps the contract of the real ones."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from streaming.sources.memory import MemoryBroker
from tests.support.source_suite import NOON, Shop, SourceSuite


class TestMemorySource(SourceSuite):
    """The same suite as Kafka's."""

    @pytest.fixture
    def shop(self, tmp_path: Path) -> Shop:
        broker = MemoryBroker(tmp_path / "broker")
        return Shop(
            source="storelake_memory",
            options={"path": str(broker.path)},
            create_topic=broker.create_topic,
            write=partial(broker.produce, timestamp=NOON),
            trim=broker.trim,
            delete_topic=broker.delete_topic,
        )
