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
    from MedSegAICore.image import Image
    from MedSegAILib.inference.prediction import Result
    from MedSegAILib.models.card import ModelCard
    from MedSegAILib.models.model import Model
    from MedSegAILib.worker.client import Progress, Run

logger = logging.getLogger(__name__)


class SegmentationLogic:
    """Runs models on the volumes of a scene. The networks of the last run stay loaded, so the next one starts at once.

    A class to mix into Slicer's ``ScriptedLoadableModuleLogic``, which does not call further constructors; so it has
    none.
    """

    _warm = None
    _worker = None

    def listModels(self) -> list[Model]:
        """The bundled and the user's models. A damaged one is left out; ``medsegai models list`` says why."""
        return self._library().list()

    def modelCard(self, model) -> ModelCard | None:
        """The card of a model (an id of the library, a model's path, or a Model), if it has one.

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
        ``model``: an id of the library, the path of a model (see ``models.opening``), or a Model.
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
        request = _Request(volumeNodes, roiNode, outputSegmentationNode)
        predictor = self._warmPredictor(self._model(model), device=device, quality=quality, mirroring=mirroring)
        result = predictor.segment(request.takeImage(), strict=strict, progress=progress, cancelled=cancelled)
        return request.insert(result)

    def startSegmentation(
        self, volumeNodes, model, *, roiNode=None, outputSegmentationNode=None, **options
    ) -> SegmentationRun:
        """Begin what ``segment`` does in a worker process, and return at once: for a window, which stays usable.

        ``options``: device, quality, mirroring, strict and every other option of the predictor.
        The process stays warm for the next run; ``closeWorker`` ends it.

        Raises what ``segment`` raises about nodes and models; WorkerError if the worker is busy or cannot be started.
        """
        request = _Request(volumeNodes, roiNode, outputSegmentationNode)
        return SegmentationRun(request, self.worker().begin(request.takeImage(), self._model(model), **options))

    def worker(self):
        """The worker process of ``startSegmentation``. ``worker().start()`` ahead of the first run saves seconds."""
        from MedSegAILib.worker.client import Worker

        if self._worker is None:
            self._worker = Worker()
        return self._worker

    def closeWorker(self):
        """End the worker process, and a run in it."""
        if self._worker is not None:
            self._worker.close()

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

    def exportDicomSeg(
        self,
        segmentationNode,
        volumeNode,
        path,
        *,
        sourceFolder=None,
        rtstruct: bool = False,
        deidentify: bool = False,
        algorithmType: str | None = None,
        description: str = "",
    ) -> Path:
        """Write all segments, hidden ones too, as a DICOM SEG that refers to the series the volume was loaded from.

        ``sourceFolder``: where its DICOM files are; None asks Slicer's DICOM database, which only the application has.
        ``rtstruct``: also write contours, ``<path without suffix>_rtstruct.dcm``. ``deidentify``: leave the patient
        out and replace all UIDs (see ``Deidentifier``). ``algorithmType``: AUTOMATIC for a draft that nobody touched,
        SEMIAUTOMATIC (None, if a model made the draft) or MANUAL.

        Raises InputError (not loaded from DICOM, files gone, no segments, unknown algorithm), GeometryError (the
        volume's voxels are not those of the series), DependencyError (no highdicom) and OutputError.
        """
        from MedSegAICore.dicom_identity import Deidentifier
        from MedSegAICore.mrml_dicom import dicom_files_of_volume
        from MedSegAILib import dicom_export

        path = Path(path)
        source = sourceFolder if sourceFolder is not None else dicom_files_of_volume(volumeNode)
        labelMap = mrml.label_map_from_segmentation(segmentationNode, volumeNode)
        dicom_export.export_dicom(
            labelMap,
            dicom_export.series_of_segmentation(labelMap, source),
            dicom_export.algorithm_of(self.provenance(segmentationNode), algorithmType),
            seg=path,
            rtstruct=dicom_export.rtstruct_path(path) if rtstruct else None,
            deidentifier=Deidentifier() if deidentify else None,
            description=description,
        )
        return path

    def _library(self):
        from MedSegAILib.models.library import ModelLibrary

        return ModelLibrary()

    def _model(self, model) -> Model:
        from MedSegAILib.models.model import Model

        return model if isinstance(model, Model) else self._library().find(model)

    def _warmPredictor(self, model: Model, **options):
        from MedSegAILib.inference.warm import WarmPredictor

        if self._warm is None:
            self._warm = WarmPredictor()
        return self._warm.get(model, **options)


class SegmentationRun:
    """A segmentation in a worker process; made by ``SegmentationLogic.startSegmentation``.

    Call ``poll`` from a timer until ``done``, then ``result``.
    """

    def __init__(self, request: _Request, run: Run):
        self._request, self._run, self._node = request, run, None

    @property
    def done(self) -> bool:
        """Whether ``result`` need not wait."""
        return self._run.done

    def poll(self) -> list[Progress]:
        """What is new since the last call, each with ``fraction``, ``stage`` and ``message``; returns at once."""
        return self._run.poll()

    def cancel(self):
        """Stop the run; it is done within a second, if ``poll`` is called meanwhile."""
        self._run.cancel()

    def result(self):
        """The segmentation node. Waits until the run is done; the node is made or filled in the first call.

        Raises what ``SegmentationLogic.segment`` raises, and WorkerError if the process failed; then nothing was
        written.
        """
        if self._node is None:
            self._node = self._request.insert(self._run.result())
        return self._node


class _Request:
    """What a run was asked for: checked and captured when it begins, written into the scene when it ends."""

    def __init__(self, volumeNodes, roiNode, outputSegmentationNode):
        nodes = list(volumeNodes) if isinstance(volumeNodes, (list, tuple)) else [volumeNodes]
        image = mrml.image_from_volume(nodes)
        self._grid, self._volume, self._output = image.grid, nodes[0], outputSegmentationNode
        self._box = box_of_roi(roiNode, nodes[0]) if roiNode is not None else None
        self._image = image if self._box is None else image.crop(self._box)
        if outputSegmentationNode is not None:
            mrml.check_target(outputSegmentationNode, nodes[0])  # before minutes of work
        self._captured = _Captured([*nodes, *([outputSegmentationNode] if outputSegmentationNode is not None else [])])

    def takeImage(self) -> Image:
        """The image that the model is to see. It is given away, so that it is not kept in memory during the run."""
        image, self._image = self._image, None
        return image

    def insert(self, result: Result):
        """Write the result into the scene; returns the segmentation node. Raises InputError if a node has vanished."""
        self._captured.check()
        for warning in result.warnings:
            logger.warning("%s: %s", self._volume.GetName(), warning)
        provenance = {**result.provenance, "warnings": list(result.warnings)}
        label_map = result.label_map
        if self._box is not None:
            label_map = label_map.placed_in(self._grid, self._box)
            provenance["region_kji"] = [[part.start, part.stop] for part in self._box]
        return mrml.segmentation_from_label_map(label_map, self._volume, node=self._output, provenance=provenance)


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
