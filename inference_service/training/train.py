"""Train YOLO11n from scratch on drawn pictures, export it to ONNX and write its card.

    storelake shop pictures --out pictures --count 1600
    python -m inference_service.training.train --pictures pictures --out trained --epochs 5

The pictures are cuts of 360 pixels that are trained at 192: people then have the size that they
have in a whole picture of 640x360 at 320 or so, at a third of the work. Needs the extra `yolo`.
"""

# ruff: noqa: PLC0415 - ultralytics reads the environment when it is imported
from __future__ import annotations

import json
import shutil
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

import typer

from conf.vendor import keep_ultralytics_at_home
from inference_service.training.slim import store_half

SIDE = 192  # pixels
EXPORT_SIZE = (192, 320)  # height, width: what 640x360 becomes; others are welcome (dynamic axes)
NAME = "shop_person"
METADATA = {
    "names": "{0: 'person'}",
    "description": "YOLO11n trained on drawn pictures of the simulated shop",  # names no folder
    "args": "{}",
}


def train(
    pictures: Path, out: Path, *, epochs: int, seed: int, threads: int, weights: Path | None
) -> Path:
    """Train and return the weights (.pt) of the best epoch.

    Args:
        pictures: a folder with ``data.yaml``, as `storelake shop pictures` writes it.
        out: where runs are kept.
        epochs: over all pictures.
        seed: of the first weights and the order of the pictures.
        threads: of torch.
        weights: where to go on from; None: from scratch.
    """
    import torch
    from ultralytics import YOLO

    torch.set_num_threads(threads)
    run = YOLO(str(weights) if weights else "yolo11n.yaml").train(
        data=str((pictures / "data.yaml").absolute()),
        project=str(out.absolute()),
        name="run",
        exist_ok=True,
        epochs=epochs,
        seed=seed,
        imgsz=SIDE,
        batch=16,
        nbs=16,
        device="cpu",
        workers=0,
        cache="ram",
        amp=False,
        pretrained=weights is not None,
        optimizer="AdamW",
        lr0=0.001 if weights else 0.002,
        warmup_epochs=0.0 if weights else 1.0,
        # Every picture is drawn again with other light, size and places: mosaics add nothing.
        mosaic=0.0,
        erasing=0.0,
        scale=0.3,
        translate=0.1,
        plots=False,
    )
    return Path(run.save_dir) / "weights" / "best.pt"


def export(weights: Path, target: Path) -> Path:
    """Write the weights as ONNX with dynamic batch, height and width, stored with 16 bits."""
    from ultralytics import YOLO

    full = YOLO(str(weights)).export(
        format="onnx", imgsz=list(EXPORT_SIZE), dynamic=True, simplify=False, device="cpu"
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    store_half(Path(full), target, METADATA)
    return target


def measure(model: Path, pictures: Path) -> dict[str, float]:
    """mAP50, mAP50-95, precision and recall of the exported file on the pictures kept back."""
    from ultralytics import YOLO

    found: Any = YOLO(str(model), task="detect").val(
        data=str((pictures / "data.yaml").absolute()),
        imgsz=SIDE,
        batch=1,
        device="cpu",
        workers=0,
        plots=False,
        verbose=False,
        project=str(model.parent.absolute()),
        name="measured",
        exist_ok=True,
    )
    return {
        "map50": round(float(found.box.map50), 4),
        "map50_95": round(float(found.box.map), 4),
        "precision": round(float(found.box.mp), 4),
        "recall": round(float(found.box.mr), 4),
    }


def count_pictures(pictures: Path, part: str) -> tuple[int, int]:
    """Pictures and labelled people of a part (train, val)."""
    labels = sorted((pictures / "labels" / part).glob("*.txt"))
    return len(labels), sum(len(p.read_text(encoding="utf-8").splitlines()) for p in labels)


def write_card(target: Path, figures: dict[str, float], about: dict[str, Any]) -> None:
    """The model card, beside the model."""
    template = Path(__file__).with_name("card.md").read_text(encoding="utf-8")
    target.write_text(template.format(**about, **figures), encoding="utf-8")


def main(
    *,
    pictures: Annotated[
        Path,
        typer.Option(exists=True, file_okay=False, help="As storelake shop pictures wrote them."),
    ],
    out: Annotated[
        Path, typer.Option(file_okay=False, help="Folder of the run, the model and its card.")
    ],
    epochs: Annotated[int, typer.Option(min=0, help="0: only export and measure --weights.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of the first weights.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Of torch.")] = 2,
    weights: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Go on from these (.pt).")
    ] = None,
) -> None:
    """Train, export, measure, and write the card."""
    if epochs == 0 and weights is None:
        raise typer.BadParameter("--epochs 0 needs --weights")
    if not (pictures / "data.yaml").is_file():
        raise typer.BadParameter(f"{pictures} holds no data.yaml")
    keep_ultralytics_at_home(out.absolute())
    best = weights
    if epochs:
        best = train(pictures, out, epochs=epochs, seed=seed, threads=threads, weights=weights)
    if best is None:
        raise typer.BadParameter("nothing was trained")
    kept = out / f"{NAME}.pt"
    if best != kept:
        shutil.copyfile(best, kept)
    model = export(kept, out / f"{NAME}.onnx")
    figures = measure(model, pictures)
    (trained, _), (held, people) = (count_pictures(pictures, p) for p in ("train", "val"))
    about = {
        "drawn": trained,
        "held": held,
        "epochs": epochs,
        "begun": "the weights of an earlier round" if weights else "random weights",
        "people": people,
        "megabytes": round(model.stat().st_size / 1e6, 1),
        "made": datetime.now(timezone.utc).date().isoformat(),
    }
    write_card(out / f"{NAME}.md", figures, about)
    typer.echo(json.dumps(figures | about))


if __name__ == "__main__":
    typer.run(main)
