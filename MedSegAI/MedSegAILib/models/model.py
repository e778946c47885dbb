"""What running a model needs of it, whatever format it is stored in."""

from __future__ import annotations

import colorsys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from MedSegAICore.errors import ModelError
from MedSegAICore.image import Image, Label
from MedSegAILib.inference.tiling import NNUNET_TILING, Tiling

if TYPE_CHECKING:
    import numpy as np
    import torch

    from MedSegAILib.inference.export import Outputs
    from MedSegAILib.inference.postprocessing import Postprocessing
    from MedSegAILib.inference.preprocessing import Placement
    from MedSegAILib.models.card import ModelCard


class Model(ABC):
    """An opened model; nothing of its weights is loaded yet.

    ``path``: its folder or file. ``card``: its model card, if it has one. ``folds``: names of the networks whose
    answers are averaged. ``previous``: in a cascade, the model whose labels this one is given beside the volume.
    ``members``: of an ensemble, the models whose probabilities are averaged; then this one has no networks of its own.
    """

    path: Path
    card: ModelCard | None
    folds: tuple[str, ...]
    previous: Model | None = None
    members: tuple[Model, ...] = ()

    @property
    def id(self) -> str:
        """The card's id, else a name made from the path."""
        return self.card.id if self.card else self._id_without_card

    @property
    def version(self) -> str:
        return self.card.version if self.card else "unknown"

    @property
    def title(self) -> str:
        return self.card.title if self.card else self.id

    @property
    def tiling(self) -> Tiling:
        """How tiles cover the prepared array."""
        return NNUNET_TILING

    @property
    def network_outputs(self) -> int:
        """How many channels the networks answer."""
        return len(self.outputs.values)

    @property
    def activation(self) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """Makes of mean logits (network_outputs, rows, J, I) what is brought to the volume's grid.

        The result has the channels that ``outputs`` describes. None where these are the logits themselves.
        """
        return None

    def warnings(self, device: torch.device) -> list[str]:
        """Sentences for the user about running the model on this device."""
        return []

    @property
    @abstractmethod
    def weight_files(self) -> tuple[Path, ...]:
        """The files that hold what was trained."""

    @property
    @abstractmethod
    def description_files(self) -> tuple[Path, ...]:
        """The files that say how the model is run and what it is."""

    @abstractmethod
    def copy_to(self, folder: Path) -> None:
        """Copy all of the model's files into a folder, which does not exist yet."""

    @property
    @abstractmethod
    def _id_without_card(self) -> str: ...

    @property
    @abstractmethod
    def format(self) -> str:
        """For people: the program or format that the model comes from, e.g. ``nnU-Net v2``."""

    @property
    @abstractmethod
    def configuration_name(self) -> str:
        """For provenance: which of the model's variants runs, e.g. ``3d_fullres``."""

    @property
    @abstractmethod
    def channel_names(self) -> tuple[str, ...]:
        """What the input's channels are, in their order."""

    @property
    @abstractmethod
    def labels(self) -> tuple[Label, ...]:
        """The segments that the model makes."""

    @property
    @abstractmethod
    def outputs(self) -> Outputs:
        """What the network's channels mean."""

    @property
    @abstractmethod
    def postprocessing(self) -> Postprocessing:
        """What is done with the labels in the end."""

    @property
    @abstractmethod
    def tile(self) -> tuple[int, ...]:
        """Extent of what the network sees at once, in the order of the prepared array: three, or (J, I) if 2D.

        0 where it sees the whole of an axis.
        """

    @property
    def tile_multiple(self) -> tuple[int, ...] | None:
        """What a smaller tile's extents must be multiples of; None if the model takes tiles of this size only."""
        return None

    @property
    @abstractmethod
    def spacing(self) -> tuple[float, ...]:
        """Of the grid on which the network works, in mm, in the order of the prepared array."""

    @property
    @abstractmethod
    def orientation(self) -> str | None:
        """To which a volume is turned before ``prepare``, unless the card says another; None leaves it as stored."""

    @property
    def root(self) -> Path:
        """The folder that holds everything of the model."""
        return self.path.parent if self.path.is_file() else self.path

    def check_weights(self) -> None:
        """Load every network once. Raises ModelError that says what is wrong, DependencyError for a missing package."""
        self.load_networks("cpu")

    @property
    @abstractmethod
    def checksum(self) -> str:
        """One SHA-256 over everything that results depend on."""

    @property
    def declared_sums(self) -> Mapping[str, str]:
        """SHA-256 of the weights as declared, by file; empty if nobody declared them."""
        return self.card.weights_sha256 if self.card else {}

    def check_folds(self, folds: Sequence[str] | None) -> None:
        """Raises ModelError if one of the folds does not exist."""
        for fold in folds or ():
            if fold not in self.folds:
                raise ModelError(f"The model {self.id} has no fold {fold!r}; it has: {', '.join(self.folds)}.")

    @abstractmethod
    def prepare(
        self, image: Image, *, body_only: bool = False, earlier: np.ndarray | None = None
    ) -> tuple[torch.Tensor, Placement]:
        """What the networks see, float32 (channels, *prepared) on the CPU, and the way back to the image's grid.

        ``body_only``: leave out the air around the body, if the format allows it; intensities stay what they were.
        ``earlier``: given for a model with a ``previous`` one only: the label values (K, J, I) that it gave the image.
        Raises InputError if nothing can be made of the image.
        """

    @abstractmethod
    def load_networks(
        self, device: torch.device | str, folds: Sequence[str] | None = None
    ) -> tuple[list[torch.nn.Module], tuple[int, ...]]:
        """The networks of the folds (all by default), ready to predict, and the axes they may be mirrored along.

        A network takes (batch, channels, *tile) and answers logits (batch, network_outputs, *tile); it can be moved
        with ``to`` and lists its ``modules`` as torch's do, but need not be one.
        Raises ModelError if the weights are missing, changed or do not fit.
        """


def spread_colors(count: int) -> list[tuple[float, float, float]]:
    """Colors (red, green, blue in 0..1) for segments that have none, spread over the color circle."""
    return [colorsys.hsv_to_rgb(number / count, 0.55, 0.9) for number in range(count)]
