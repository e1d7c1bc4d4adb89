"""Sinks: Postgres, rejected messages, late and refused rows: once, by source position."""
