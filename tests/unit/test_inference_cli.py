"""`storelake infer` from end to end, with a file as its broker."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from cli.infer import infer
from conf.errors import StorelakeError
from inference_service.footage import draw_clip
from inference_service.frames import SourceError
from inference_service.sources import open_source

pytestmark = pytest.mark.usefixtures("without_metrics")
app = typer.Typer()
app.command()(infer)
runner = CliRunner()


@pytest.fixture
def without_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """No port that a service of the developer may hold."""
    monkeypatch.setenv("STORELAKE_INFERENCE__METRICS_PORT", "0")


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


def test_a_file_can_show_when_it_was_filmed(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "events.ndjson"
    arguments = ["--camera", "B01-entrance", "--source", str(clip), "--detector", "motion"]
    arguments += ["--publisher", "ndjson", "--out", str(out), "--max-frames", "3", "--fps", "5"]
    done = runner.invoke(app, [*arguments, "--start", "2024-05-01T12:00:00"])
    assert done.exit_code == 0, done.output
    taken = [json.loads(line)["captured_at"] for line in out.read_text().splitlines()]
    assert [datetime.fromisoformat(at.replace("Z", "+00:00")) for at in taken] == [
        datetime(2024, 5, 1, 12, 0, 0, milliseconds * 1000, tzinfo=timezone.utc)
        for milliseconds in (0, 200, 400)
    ]


@pytest.mark.requirement("V1")
@pytest.mark.requirement("V2")
def test_two_cameras_run_in_one_process_with_the_shipped_model(clip: Path, tmp_path: Path) -> None:
    out, totals = tmp_path / "events.ndjson", tmp_path / "reports" / "totals.json"
    arguments = ["--camera", "B01-entrance", "--camera", "B02-entrance", "--source", str(clip)]
    arguments += ["--source", str(clip), "--detector", "onnx", "--tracker", "deepsort"]
    arguments += ["--publisher", "ndjson", "--out", str(out), "--every", "2", "--fps", "5"]
    done = runner.invoke(app, [*arguments, "--summary", str(totals)])
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    seen = {
        camera: n["processed"] for camera, n in json.loads(totals.read_text())["cameras"].items()
    }
    assert seen == {"B01-entrance": 10, "B02-entrance": 10}
    assert {(e["branch_id"], e["camera_id"]) for e in lines} == {
        ("B01", "B01-entrance"),
        ("B02", "B02-entrance"),
    }
    runtime = lines[0]["runtime"]
    assert (runtime["detector"], runtime["tracker"]) == ("onnx", "deepsort")
    assert runtime["model"] == "shop_person.onnx"
    assert all(any(e["detections"] for e in lines if e["camera_id"] == c) for c in seen)


def play(*arguments: str) -> Result:
    return runner.invoke(app, ["--publisher", "ndjson", "--detector", "motion", *arguments])


def test_sources_come_from_the_settings(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORELAKE_INFERENCE__SOURCES", json.dumps({"B02-entrance": str(clip)}))
    out = tmp_path / "events.ndjson"
    done = play("--out", str(out), "--max-frames", "5")
    assert done.exit_code == 0, done.output
    assert {json.loads(line)["camera_id"] for line in out.read_text().splitlines()} == {
        "B02-entrance"
    }


def test_a_source_alone_is_played_as_the_first_camera(clip: Path, tmp_path: Path) -> None:
    done = play("--source", str(clip), "--out", str(tmp_path / "e.ndjson"), "--max-frames", "5")
    assert done.exit_code == 0, done.output
    assert "played as B01-entrance" in done.output


def test_a_camera_without_a_source_is_one_sentence() -> None:
    done = play("--camera", "B01-entrance")
    assert isinstance(done.exception, StorelakeError)
    assert "camera B01-entrance has no source: give --source" in str(done.exception)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--source", "a.mp4", "--source", "b.mp4"], "each --source needs a --camera"),
        (["--camera", "B01-entrance", "--camera", "B01-entrance"], "given twice"),
        (
            ["--camera=B01-entrance", "--camera=B02-entrance", "--source=a", "--source=b"],
            "--preview shows one camera",
        ),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    arguments: list[str], sentence: str
) -> None:
    done = play(*arguments, "--preview", "p.mp4")
    assert done.exit_code == 2
    assert sentence in " ".join(done.output.split())


def test_an_option_that_does_not_fit_is_named_as_its_setting(clip: Path) -> None:
    done = play("--source", str(clip), "--device", "tpu")
    assert isinstance(done.exception, StorelakeError)
    assert "inference.device" in str(done.exception)


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


@pytest.mark.parametrize("option", ["--preview", "--summary"])
def test_a_file_that_cannot_be_written_is_one_sentence_before_the_run(
    option: str, clip: Path, tmp_path: Path
) -> None:
    out, closed = tmp_path / "events.ndjson", "/proc/nowhere/file"
    done = play("--source", str(clip), "--out", str(out), option, closed)
    assert isinstance(done.exception, StorelakeError)
    assert str(done.exception) == f"{closed} cannot be written: No such file or directory."
    assert not out.exists()


def test_a_run_of_which_a_camera_failed_writes_its_totals(clip: Path, tmp_path: Path) -> None:
    broken, totals = tmp_path / "pictures", tmp_path / "totals.json"
    broken.mkdir()
    (broken / "1.png").write_bytes(b"no picture")
    arguments = ["--camera", "B01-entrance", "--camera", "B02-entrance", "--source", str(clip)]
    arguments += ["--source", str(broken), "--out", str(tmp_path / "events.ndjson"), "--fps", "5"]
    done = play(*arguments, "--summary", str(totals))
    assert "holds no picture that can be read" in str(done.exception)
    cameras = json.loads(totals.read_text())["cameras"]
    assert (cameras["B01-entrance"]["processed"], cameras["B02-entrance"]["dropped"]) == (20, 1)
    assert "20 processed, 20 events published" in " ".join(done.output.split())


def test_an_endless_loop_without_a_clock_is_refused(clip: Path) -> None:
    done = runner.invoke(app, ["--camera", "B01-entrance", "--source", str(clip), "--loop"])
    assert done.exit_code == 2
    assert "--realtime" in done.output


def test_errors_of_sources_are_errors_of_the_product() -> None:
    assert issubclass(SourceError, StorelakeError)
