"""`storelake infer` from end to end, with a file as its broker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from cli.infer import infer
from conf.errors import StorelakeError
from inference_service.footage import draw_clip
from inference_service.frames import SourceError
from inference_service.sources import open_source

app = typer.Typer()
app.command()(infer)
runner = CliRunner()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", seconds=4, fps=10)


def test_a_clip_becomes_a_file_of_events_and_a_preview(clip: Path, tmp_path: Path) -> None:
    out, preview = tmp_path / "events.ndjson", tmp_path / "preview.mp4"
    arguments = ["--camera", "B01-entrance", "--source", str(clip), "--detector", "motion"]
    arguments += ["--publisher", "ndjson", "--out", str(out), "--fps", "5"]
    done = runner.invoke(app, [*arguments, "--preview", str(preview)])
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(lines) == 20
    assert any(line["detections"] for line in lines)
    assert {line["branch_id"] for line in lines} == {"B01"}
    assert len(list(open_source(str(preview)))) == 20
    assert "20 events published, 0 frames dropped" in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("camera", "source", "sentence"),
    [
        ("B01-entrance", "missing.mp4", "The video missing.mp4 does not exist."),
        ("B09", "missing.mp4", "camera 'B09' is unknown; known cameras: B01-entrance"),
    ],
)
def test_what_cannot_start_is_one_sentence(camera: str, source: str, sentence: str) -> None:
    done = runner.invoke(app, ["--camera", camera, "--source", source, "--publisher", "ndjson"])
    assert isinstance(done.exception, StorelakeError)
    assert sentence in str(done.exception)
    assert done.exit_code == 1


def test_an_endless_loop_without_a_clock_is_refused(clip: Path) -> None:
    done = runner.invoke(app, ["--camera", "B01-entrance", "--source", str(clip), "--loop"])
    assert done.exit_code == 2
    assert "--realtime" in done.output


def test_errors_of_sources_are_errors_of_the_product() -> None:
    assert issubclass(SourceError, StorelakeError)
