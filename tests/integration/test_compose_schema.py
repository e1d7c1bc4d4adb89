"""docker-compose.yml against the schema of the Compose specification, which Go's proxy has."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from conf.settings import load_settings
from infra.local.go import find_go
from tools.docs.files import ROOT

MODULE = "github.com/compose-spec/compose-go/v2@v2.16.2"


@pytest.fixture
def schema(tmp_path: Path) -> Draft202012Validator:
    """Of the specification, from the module that docker's own `compose` reads files with."""
    cache = load_settings().cache_dir
    kept = cache / f"compose-spec-{MODULE.rpartition('@')[2]}.json"
    if not kept.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        scratch = tmp_path / "schema.json"
        shutil.copy(_fetch(tmp_path), scratch)
        shutil.move(scratch, kept)
    return Draft202012Validator(json.loads(kept.read_text(encoding="utf-8")))


def _fetch(folder: Path) -> Path:
    command = ["env", f"GOPATH={folder / 'go'}", "GOFLAGS=-modcacherw", find_go()]
    command += ["mod", "download", "-json", MODULE]
    module = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return Path(json.loads(module.stdout)["Dir"]) / "schema" / "compose-spec.json"


@pytest.mark.requirement("D1")
def test_the_file_is_what_the_specification_allows(schema: Draft202012Validator) -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    model = yaml.safe_load(text)
    assert [error.message for error in schema.iter_errors(model)] == []

    # And the schema is one that notices: the same with a slip of the pen is refused.
    model["services"]["gateway"]["helthcheck"] = model["services"]["gateway"].pop("healthcheck")
    assert any("helthcheck" in error.message for error in schema.iter_errors(model))
