"""A real Pulsar for tests, with ledgers so short that every test crosses some."""

from __future__ import annotations

from infra.local.process import wait_until
from infra.local.pulsar import PulsarService

# Ledgers of two entries: every promise is kept across their ends, and old ones can be deleted.
LEDGERS = {
    "managedLedgerMaxEntriesPerLedger": "2",
    "managedLedgerMinLedgerRolloverTimeMinutes": "0",
}


def start_pulsar(service: PulsarService) -> None:
    """Start the broker and wait until it is healthy."""
    service.start()
    assert wait_until(service.ready, 120), service.last_lines()
