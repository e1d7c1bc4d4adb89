"""Injected damage, and the expectations that must report it."""
