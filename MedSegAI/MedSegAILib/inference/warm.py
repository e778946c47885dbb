"""The predictor of the last run stays loaded, so that the next run with the same model and settings starts at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from MedSegAILib.inference.prediction import Predictor
    from MedSegAILib.models.model import Model


class WarmPredictor:
    """Holds one Predictor at a time.

    >>> predictor = WarmPredictor().get(ModelLibrary().find("hippocampus"), device="cpu")
    """

    def __init__(self):
        self.predictor: Predictor | None = None
        self._settings: tuple | None = None

    def get(self, model: Model, **options: Any) -> Predictor:
        """The predictor for a model and options of Predictor; a new one if any of them, or a file, changed.

        Raises what Predictor raises; then none is held.
        """
        from MedSegAILib.inference.prediction import Predictor

        settings = (_state(model), options)
        if self.predictor is None or self._settings != settings:
            self.predictor = None  # frees the memory before the next networks need it
            self.predictor = Predictor(model, **options)
            self._settings = settings
        return self.predictor


def _state(model: Model) -> tuple:
    """Changes when a checkpoint, the plan, the card or another description of the model is replaced."""
    files: list[Path] = [*model.weight_files]
    for folder in dict.fromkeys(_folders(model)):
        files += sorted(folder.glob("*.json"))
    return (model.configuration_name, model.postprocessing, *((str(file), file.stat().st_mtime_ns) for file in files))


def _folders(model: Model) -> Iterator[Path]:
    """Where a model, the stages before it and the members of an ensemble are."""
    yield model.path
    for part in (*model.members, *((model.previous,) if model.previous else ())):
        yield from _folders(part)
