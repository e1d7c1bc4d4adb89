"""A Java that does not run anything."""

from __future__ import annotations

from pathlib import Path


def fake_java(home: Path, version: str) -> Path:
    """Make a Java home whose program only prints its version; return it."""
    program = home / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho '{version}' >&2\n")
    program.chmod(0o755)
    return home
