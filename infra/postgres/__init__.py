"""The schema of the serving database, as numbered migrations in plain SQL."""
