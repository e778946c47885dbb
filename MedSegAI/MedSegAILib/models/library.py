"""The models on this machine: those that come with the program, and those that the user added.

>>> library = ModelLibrary()
>>> library.add("Dataset004_Hippocampus/nnUNetTrainer__nnUNetPlans__3d_fullres")
>>> [model.id for model in library.list()]
"""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from MedSegAICore.errors import MedSegAIError, ModelError, OutputError
from MedSegAICore.resources import resource
from MedSegAILib.models.model import Model
from MedSegAILib.models.opening import open_model
from MedSegAILib.models.sidecar import FORMATS

USER_FOLDER_VARIABLE = "MEDSEGAI_MODELS"
# A zip bomb is refused; the largest model folders in use (five folds of a large residual encoder) have about 8 GiB.
MAX_UNPACKED_BYTES = 20 * 2**30


class ModelLibrary:
    """Finds, adds and removes models.

    ``bundled``: folder of the models that come with the program. ``user``: folder of the user's own models; by default
    the environment variable MEDSEGAI_MODELS, else ``~/.medsegai/models``.
    """

    def __init__(self, bundled: Path | str | None = None, user: Path | str | None = None):
        self.bundled = Path(bundled) if bundled else resource("Models")
        self.user = Path(user or os.environ.get(USER_FOLDER_VARIABLE) or Path.home() / ".medsegai" / "models")

    def list(self) -> list[Model]:
        """Every model that can be opened, bundled ones first; see ``problems`` for the others."""
        return [model for model in self._scan() if isinstance(model, Model)]

    def problems(self) -> dict[Path, MedSegAIError]:
        """The folders that cannot be opened, and why."""
        return {path: error for path, error in self._scan_with_paths() if isinstance(error, MedSegAIError)}

    def find(self, id_or_path: str | Path, configurations: Sequence[str] = ()) -> Model:
        """The model of this id, or the one in this folder or file. Raises ModelError that names the known ids.

        ``configurations``: which of several nnU-Net configurations, such as ``2d``; more than one make an ensemble.
        """
        for model in self.list():
            if model.id == str(id_or_path):
                return open_model(model.root, configurations) if configurations else model
        if Path(id_or_path).exists():
            return open_model(id_or_path, configurations)
        known = ", ".join(model.id for model in self.list()) or "none"
        broken = "".join(f" {path.name} cannot be used: {error}" for path, error in self.problems().items())
        raise ModelError(
            f"There is no model {str(id_or_path)!r}. Known models: {known}. "
            f"Give one of them, or a model's folder or file.{broken}"
        )

    def is_bundled(self, model: Model) -> bool:
        return self.bundled.resolve() in model.path.resolve().parents

    def add(self, source: Path | str) -> Model:
        """Copy a model's folder or files, or unpack a zip of them, into the user's models.

        Of a cascade or an ensemble all folders that belong to it. The model is opened and its weights are loaded once
        before it becomes visible. Raises ModelError if it cannot be used or its id is taken; OutputError if it cannot
        be copied.
        """
        source = Path(source)
        try:
            self.user.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".adding-", dir=self.user) as staging:
                unpacked = Path(staging) / "model"
                if is_zip := source.is_file() and source.suffix.lower() not in FORMATS:
                    _unpack(source, unpacked)
                else:
                    open_model(source).copy_to(unpacked)
                model = _open(unpacked, source)
                # Without a card the id is the folder's name, which staging changed.
                id = model.card.id if model.card else (source.stem if is_zip else open_model(source).id)
                if id in [known.id for known in self.list()] or (self.user / id).exists():
                    raise ModelError(f"There is already a model {id!r}. Remove it first: medsegai models remove {id}")
                model.check_weights()
                os.replace(model.root, self.user / id)
        except OSError as error:
            raise OutputError(f"The model cannot be copied to {self.user}: {error.strerror or error}.") from error
        return open_model(self.user / id)

    def remove(self, id: str) -> None:
        """Delete one of the user's models. Raises ModelError if it is bundled or unknown."""
        model = next((model for model in self.list() if model.id == id), None)
        if model is None:
            raise ModelError(f"There is no model {id!r} to remove.")
        if self.is_bundled(model):
            raise ModelError(f"The model {id!r} comes with the program and cannot be removed.")
        shutil.rmtree(next(folder for folder in self.user.iterdir() if folder in (model.path, *model.path.parents)))

    def verify(self, id: str) -> Model:
        """Check a model's files against its card and load its weights. Raises ModelError that says what is wrong."""
        model = self.find(id)
        model.check_weights()
        return model

    def _scan(self) -> Iterator[Model | MedSegAIError]:
        return (result for _, result in self._scan_with_paths())

    def _scan_with_paths(self) -> Iterator[tuple[Path, Model | MedSegAIError]]:
        for root in (self.bundled, self.user):
            if root.is_dir():
                for folder in sorted(root.iterdir()):
                    if folder.is_dir() and not folder.name.startswith("."):
                        try:
                            yield folder, open_model(folder)
                        except MedSegAIError as error:
                            yield folder, error
                        except OSError as error:
                            reason = f"{error.strerror or error}. Check who may read it, or remove it."
                            yield folder, ModelError(f"The model folder {folder} cannot be read: {reason}")


def _open(unpacked: Path, source: Path) -> Model:
    """The model in a staging folder, whose name no message may hold."""
    try:
        return open_model(unpacked)
    except ModelError as error:
        # A zip that was cut off can end with a checkpoint, which is a zip too, and unpacks to that one's entries.
        kind = "zip archive of a model" if source.is_file() else "model"
        reason = str(error).replace(str(unpacked), source.name)
        raise ModelError(f"{source.name} is not a usable {kind}: {reason}") from error


def _unpack(archive: Path, target: Path) -> None:
    """Unpack a zip; refuses entries that would leave ``target`` and archives of absurd size."""
    try:
        with zipfile.ZipFile(archive) as content:
            total = 0
            for entry in content.infolist():
                name = PurePosixPath(entry.filename.replace("\\", "/"))
                if name.is_absolute() or ".." in name.parts or ":" in entry.filename:
                    raise ModelError(f"{archive.name} is not safe to unpack: it holds {entry.filename!r}.")
                total += entry.file_size
            if total > MAX_UNPACKED_BYTES:
                raise ModelError(f"{archive.name} would unpack to {total / 2**30:.0f} GiB; models are smaller.")
            content.extractall(target)
    except (ModelError, OSError):
        raise
    except Exception as error:  # zipfile lets through what its decompressors raise, each of them its own
        raise ModelError(f"{archive.name} is not a usable zip archive: {error}. Copy it again.") from error
