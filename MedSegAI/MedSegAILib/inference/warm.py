"""The predictor of the last run stays loaded, so that the next run with the same model and settings starts at once."""

from __future__ import annotations

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


def _state(model: Model) -> tuple[tuple[str, int], ...]:
    """Changes when weights, the card or another description of the model are replaced."""
    files = (*model.weight_files, *model.description_files)
    return (model.configuration_name, *((str(file), file.stat().st_mtime_ns) for file in files))
