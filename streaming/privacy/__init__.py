"""Erasure and export of one customer over every store (`storelake privacy`, docs/PRIVACY.md)."""
