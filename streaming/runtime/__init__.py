"""Runs streams: queries, writes in tasks, periodic tasks, leases, metrics."""
