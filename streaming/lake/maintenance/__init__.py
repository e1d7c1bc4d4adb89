"""Tables of the lake kept fit for reading while streams write them (`storelake maintain`).

Small files of quiet partitions become few sorted ones, manifests few, old snapshots are expired,
and files that no snapshot names are removed; by the policy of each table
(`tables.MaintenancePolicy`).
"""
