"""Throughput and CPU seconds of a cluster with one executor and with two."""
