"""Recomputation of windows from bronze, backfill of history, retention."""
