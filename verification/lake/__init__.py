"""The lake of the full profile: maintenance beside streams, engines, backfill, Delta."""
