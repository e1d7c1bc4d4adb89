"""Repeatable measurements; each prints one JSON document and says on what machine it ran."""
