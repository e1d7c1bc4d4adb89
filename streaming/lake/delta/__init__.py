"""The lake in Delta, written by delta-rs."""
