"""Sinks: Postgres, dead letters, late and refused rows, each exactly once by source position."""
