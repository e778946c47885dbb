"""What the panel, the Python console and scripts call: volume nodes in, a segmentation node out.

>>> logic = SegmentationLogic()
>>> segmentation = logic.segment(volumeNode, "hippocampus")
>>> logic.volumesMl(segmentation)
{'hippocampus_anterior': 1.62, 'hippocampus_posterior': 1.32}

It needs a scene, but neither a window nor Qt: in plain Python call ``MedSegAICore.headless.start()`` first.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MedSegAICore import mrml
from MedSegAICore.errors import InputError
from MedSegAICore.files import write_segmentation
from MedSegAICore.mrml_roi import box_of_roi

if TYPE_CHECKING:
    from MedSegAILib.models.card import ModelCard
    from MedSegAILib.models.folder import ModelFolder

logger = logging.getLogger(__name__)


class SegmentationLogic:
    """Runs models on the volumes of a scene. The networks of the last run stay loaded, so the next one starts at once.

    A class to mix into Slicer's ``ScriptedLoadableModuleLogic``, which does not call further constructors; so it has
    none.
    """

    _predictor = None
    _predictorSettings: tuple = ()

    def listModels(self) -> list[ModelFolder]:
        """The bundled and the user's models. A damaged one is left out; ``medsegai models list`` says why."""
        return self._library().list()

    def modelCard(self, model) -> ModelCard | None:
        """The card of a model (an id of the library, the path of a model folder, or a ModelFolder), if it has one.

        Raises ModelError if there is no such model.
        """
        return self._model(model).card

    def segment(
        self,
        volumeNodes,
        model,
        *,
        roiNode=None,
        outputSegmentationNode=None,
        device: str = "auto",
        quality: str = "standard",
        mirroring: bool | None = None,
        strict: bool = False,
        progress: Callable[[float, str], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ):
        """Segment a volume node (or the list of nodes that are a model's channels) and return the segmentation node.

        The segments lie on the volume voxel for voxel and are put under its parent transform, also a non-linear one.
        ``model``: an id of the library, the path of a model folder, or a ModelFolder.
        ``roiNode``: a markups ROI; only the voxels in it are shown to the model, as if the volume had been cropped, and
        nothing is found outside. None takes the whole volume.
        ``outputSegmentationNode``: gets the segments beside those it has; None makes a new node.
        ``quality``: fast, standard or best. ``mirroring``: overrides what the quality says about mirrored copies.
        ``strict``: refuse a volume that differs from what the model card asks for, instead of warning.
        ``progress(fraction, message)`` and ``cancelled()`` are called between tiles.
        Warnings are logged and kept with the node: ``warnings(node)``.

        Raises InputError (no voxels, NaN, an ROI beside the volume, a node vanished meanwhile), GeometryError (channels
        on different grids), ModelError, ProtocolError (strict), DeviceError, DependencyError (no torch) and Cancelled;
        then nothing was written.
        """
        nodes = list(volumeNodes) if isinstance(volumeNodes, (list, tuple)) else [volumeNodes]
        image = mrml.image_from_volume(nodes)
        box = box_of_roi(roiNode, nodes[0]) if roiNode is not None else None
        if outputSegmentationNode is not None:
            mrml.check_target(outputSegmentationNode, nodes[0])  # before minutes of work
        captured = _Captured([*nodes, *([outputSegmentationNode] if outputSegmentationNode is not None else [])])
        predictor = self._warmPredictor(self._model(model), device, quality, mirroring)
        shown = image if box is None else image.crop(box)
        result = predictor.segment(shown, strict=strict, progress=progress, cancelled=cancelled)
        captured.check()
        for warning in result.warnings:
            logger.warning("%s: %s", nodes[0].GetName(), warning)
        provenance = {**result.provenance, "warnings": list(result.warnings)}
        label_map = result.label_map
        if box is not None:
            label_map = label_map.placed_in(image.grid, box)
            provenance["region_kji"] = [[part.start, part.stop] for part in box]
        return mrml.segmentation_from_label_map(label_map, nodes[0], node=outputSegmentationNode, provenance=provenance)

    def volumesMl(self, segmentationNode) -> dict[str, float]:
        """Volume of every segment in ml by segment id: voxel count times voxel volume, without parent transforms.

        Raises InputError or GeometryError if the node is not a segmentation or has no geometry.
        """
        return mrml.label_map_from_segmentation(segmentationNode).volumes_ml()

    def provenance(self, segmentationNode) -> dict[str, Any]:
        """How the segmentation was made (the last run into this node): model, device, software, time; {} if by hand."""
        return json.loads(segmentationNode.GetAttribute(mrml.PROVENANCE) or "{}")

    def warnings(self, segmentationNode) -> list[str]:
        """Sentences that name what of the input differed from what the model was made for."""
        return list(self.provenance(segmentationNode).get("warnings", []))

    def saveSegmentation(self, segmentationNode, path) -> Path:
        """Write all segments, hidden ones too, as ``.seg.nrrd`` with provenance: the file ``medsegai segment`` writes.

        Raises OutputError if the file cannot be written; nothing half-written is left behind.
        """
        text = segmentationNode.GetAttribute(mrml.PROVENANCE)
        metadata = {mrml.PROVENANCE: text} if text else {}
        write_segmentation(path, mrml.label_map_from_segmentation(segmentationNode), metadata)
        return Path(path)

    def _library(self):
        from MedSegAILib.models.library import ModelLibrary

        return ModelLibrary()

    def _model(self, model) -> ModelFolder:
        from MedSegAILib.models.folder import ModelFolder

        return model if isinstance(model, ModelFolder) else self._library().find(model)

    def _warmPredictor(self, model: ModelFolder, device: str, quality: str, mirroring: bool | None):
        from MedSegAILib.inference.prediction import Predictor

        files = [model.checkpoint_path(fold) for fold in model.folds]
        settings = (tuple((str(file), file.stat().st_mtime_ns) for file in files), device, quality, mirroring)
        if self._predictorSettings != settings:
            self._predictor, self._predictorSettings = None, ()  # frees the memory before the next networks need it
            self._predictor = Predictor(model, device=device, quality=quality, mirroring=mirroring)
            self._predictorSettings = settings
        return self._predictor


class _Captured:
    """The nodes a run began with. While it runs, the scene can be closed or nodes be deleted by other code."""

    def __init__(self, nodes):
        self._nodes = [(node, node.GetName(), node.GetScene()) for node in nodes]

    def check(self):
        for node, name, scene in self._nodes:
            if scene is None or not scene.IsNodePresent(node):
                raise InputError(
                    f"{name!r} was removed from the scene while it was being segmented. Nothing was written."
                )
