"""OpenLineage events: which tables and topics each stream and validation run reads and writes."""
