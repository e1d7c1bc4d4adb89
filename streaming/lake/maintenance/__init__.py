"""Maintenance of lake tables while streams write them (`storelake maintain`).

It compacts small files of quiet partitions into sorted ones, merges manifests, expires old
snapshots and removes orphan files, by the policy of each table (`tables.MaintenancePolicy`).
"""
