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

from MedSegAICore import mrml, mrml_overlay, mrml_sequence
from MedSegAICore.files import write_segmentation
from MedSegAICore.mrml_maps import maps_of
from MedSegAICore.mrml_roi import fit_roi
from MedSegAICore.mrml_segments import SegmentSize, segment_sizes
from MedSegAILib import segmentation_export
from MedSegAILib.correction_logic import CorrectionLogic
from MedSegAILib.segmentation_run import Captured, Request, SegmentationRun, protocolDifferences

if TYPE_CHECKING:
    from MedSegAILib.inference.estimate import Estimate
    from MedSegAILib.models.adding import Adding
    from MedSegAILib.models.card import ModelCard
    from MedSegAILib.models.channel_matching import Assignment
    from MedSegAILib.models.model import Model
    from MedSegAILib.worker.client import Worker

logger = logging.getLogger(__name__)


class SegmentationLogic(CorrectionLogic):
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

    def modelTitle(self, identifier: str) -> str:
        """What people call the model of this id: its title, or the id if it is not in the library."""
        return next((model.title for model in self.listModels() if model.id == identifier), identifier)

    def segment(
        self,
        volumeNodes,
        model,
        *,
        roiNode=None,
        registration: str | None = None,
        outputSegmentationNode=None,
        device: str = "auto",
        quality: str = "standard",
        mirroring: bool | None = None,
        probabilities: bool = False,
        uncertainty: bool = False,
        strict: bool = False,
        progress: Callable[[float, str], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ):
        """Segment a volume node and return the segmentation node.

        ``volumeNodes``: for a model of several channels a list in the order of its channels (``matchChannels`` tells
        which is which), or a dict from channel name to node. The others are resampled in space to the first channel's
        volume, through the parent transforms of all; nothing is hardened.
        The segments lie on that volume voxel for voxel and are put under its parent transform, also a non-linear one.
        ``model``: an id of the library, the path of a model (see ``models.opening``), or a Model.
        ``roiNode``: a markups ROI; only the voxels in it are shown to the model, as if the volume had been cropped, and
        nothing is found outside. None takes the whole volume. An ROI that is turned against the volume is taken as
        the smallest upright box around it.
        ``registration``: "rigid" or "affine" brings the other channels onto the first one before. Each transform is
        kept as a node, under which the volume lies on the first one; the volume itself is not put under it. How well
        it fits is in the provenance (``channels``) and in the node's attribute ``MedSegAI.Registration``.
        ``outputSegmentationNode``: gets the segments beside those it has; None makes a new node.
        ``quality``: fast, standard or best. ``mirroring``: overrides what the quality says about mirrored copies.
        ``probabilities``, ``uncertainty``: also make volume nodes of them, see ``probabilityNodes`` and
        ``uncertaintyNode``.
        ``strict``: refuse a volume that differs from what the model card asks for, instead of warning.
        ``progress(fraction, message)`` and ``cancelled()`` are called between tiles.
        Warnings are logged and kept with the node: ``warnings(node)``.

        Raises InputError (no voxels, NaN, another number of volumes than channels, an ROI beside the volume, a node
        vanished meanwhile), GeometryError (channels that do not overlap in space), ModelError, ProtocolError (strict),
        DeviceError, DependencyError (no torch) and Cancelled; then nothing was written.
        """
        opened = self._model(model)
        say = (lambda message: progress(0.0, message)) if progress is not None else None
        request = Request(volumeNodes, opened, roiNode, outputSegmentationNode, registration)
        image = request.takeImage(say, cancelled)
        predictor = self._warmPredictor(opened, device=device, quality=quality, mirroring=mirroring)
        result = predictor.segment(
            image,
            probabilities=probabilities,
            uncertainty=uncertainty,
            strict=strict,
            progress=progress,
            cancelled=cancelled,
        )
        return request.insert(result)

    def startSegmentation(
        self, volumeNodes, model, *, roiNode=None, registration=None, outputSegmentationNode=None, **options
    ) -> SegmentationRun:
        """Begin what ``segment`` does in a worker process, and return at once: for a window, which stays usable.

        Resampling and ``registration`` of several volumes are done there too. Only where one is under a non-linear
        transform they are done before it returns (seconds per volume).
        ``options``: device, quality, mirroring, strict and every other option of the predictor.
        The process stays warm for the next run; ``closeWorker`` ends it.

        Raises what ``segment`` raises about nodes and models; WorkerError if the worker is busy or cannot be started.
        """
        opened = self._model(model)
        request = Request(volumeNodes, opened, roiNode, outputSegmentationNode, registration)
        return SegmentationRun(request, self.worker().begin(request.takeVolumes(), opened, **options))

    def worker(self) -> Worker:
        """The worker process of ``startSegmentation``. ``worker().start()`` ahead of the first run saves seconds."""
        from MedSegAILib.worker.client import Worker

        if self._worker is None:
            self._worker = Worker()
        return self._worker

    def prepareWorker(self):
        """Start the worker process ahead of the first run, which is then seconds earlier; returns at once.

        Raises WorkerError if it cannot be started.
        """
        self.worker().start()

    def deviceName(self) -> str | None:
        """What "auto" is on this machine, such as ``cpu (8 threads)``; None until the worker process has said it."""
        return self._worker.device if self._worker is not None else None

    def closeWorker(self):
        """End the worker process, and a run in it."""
        if self._worker is not None:
            self._worker.close()

    def checkProtocol(self, volumeNodes, model, roiNode=None) -> list[str]:
        """Sentences about what of the volumes differs from what the model card asks for, before anything runs.

        It looks at geometry and modality only and returns at once. ``segment`` warns of the same, and ``strict``
        refuses what the card speaks against.

        Raises what ``segment`` raises about nodes, regions and models.
        """
        return protocolDifferences(volumeNodes, self._model(model), roiNode)

    def checkOutput(self, outputSegmentationNode, volumeNode):
        """Raise InputError or GeometryError if segments of the volume cannot be added to this segmentation.

        None stands for a new one, which can always be made.
        """
        if outputSegmentationNode is not None:
            mrml.check_target(outputSegmentationNode, volumeNode)

    def fitRoi(self, roiNode, volumeNode):
        """Place a markups ROI around a volume, turned as the volume is, and show it."""
        fit_roi(roiNode, volumeNode)

    def startAddingModel(self, source) -> Adding:
        """Begin to copy a model's folder, file or zip to the user's models, as ``medsegai models add`` does.

        In a process of its own, because its weights are loaded once. ``poll`` the result from a timer until ``done``.
        Raises WorkerError if the process cannot be started.
        """
        from MedSegAILib.models.adding import Adding

        return Adding(source)

    def removeModel(self, model: Model):
        """Delete one of the user's models. Raises ModelError if it is bundled or gone."""
        self._library().remove(model.id)

    def isBundled(self, model: Model) -> bool:
        """Whether a model comes with the program and cannot be removed."""
        return self._library().is_bundled(model)

    def matchChannels(self, volumeNodes, model) -> Assignment:
        """Which of these volumes is which channel of the model, by the rules of its card, to be shown and confirmed.

        Volumes are told apart by modality and DICOM series description, without them by the node's name. What is not
        clear is ``ambiguous`` or ``missing`` and never guessed: ``.matches`` has status and reason of every channel,
        ``.complete`` says whether all are clear, and ``.volumes`` are then the nodes in the order of ``segment``.

        Raises InputError (no volumes) and ModelError.
        """
        from MedSegAILib.models.channel_matching import Candidate, match_channels

        candidates = []
        for node in volumeNodes:
            mrml.grid_from_volume(node)
            meta = mrml.meta_of_volume(node)
            description = meta.get("series_description") or node.GetName()
            candidates.append(Candidate(node, node.GetName(), description, meta.get("modality", "")))
        opened = self._model(model)
        return match_channels(candidates, opened.channel_names, opened.card)

    def segmentSequence(
        self,
        sequenceNode,
        model,
        *,
        device: str = "auto",
        quality: str = "standard",
        mirroring: bool | None = None,
        strict: bool = False,
        progress: Callable[[float, str], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ):
        """Segment every frame of a sequence of volumes and return a sequence node of segmentations.

        It has the index values, name and unit of the sequence, and is shown by its browser; if there is none, one is
        made. A frame that fails does not stop the others: it gets a segmentation without segments, and ``frameErrors``
        says why. Progress is over all frames; the networks are loaded once.

        Raises InputError (no sequence of volumes, every frame failed, the node vanished meanwhile), ModelError,
        DeviceError, DependencyError and Cancelled; then nothing was written.
        """
        from MedSegAILib.inference.frames import segment_frames

        frames = mrml_sequence.frames_of(sequenceNode)
        captured = Captured([sequenceNode])
        predictor = self._warmPredictor(self._model(model), device=device, quality=quality, mirroring=mirroring)
        results = segment_frames(predictor, frames, strict=strict, progress=progress, cancelled=cancelled)
        captured.check()
        return mrml_sequence.segmentation_sequence(sequenceNode, [_frame(*result) for result in results])

    def frameErrors(self, sequenceNode) -> dict[str, str]:
        """Index value and reason of the frames that ``segmentSequence`` could not segment."""
        return mrml_sequence.frame_errors(sequenceNode)

    def estimate(self, volumeNodes, model, *, roiNode=None, **options) -> Estimate:
        """How long ``segment`` would take and how much memory it would need, after trying one empty tile.

        ``options``: device, quality and mirroring. ``str()`` of the result is for people.
        Raises what ``segment`` raises before it runs.
        """
        model = self._model(model)
        request = Request(volumeNodes, model, roiNode, None)
        return self._warmPredictor(model, **options).estimate(request.takeImage())

    def probabilityNodes(self, segmentationNode) -> list:
        """The volume nodes with the probability of each segment, if ``segment`` was asked for them."""
        return maps_of(segmentationNode, "probabilities")

    def uncertaintyNode(self, segmentationNode):
        """The volume node that says where folds and mirrored answers are unsure or disagree, 0 to 1; None if there is
        none. What it is: ``MedSegAILib.inference.uncertainty.Entropy``.
        """
        return next(iter(maps_of(segmentationNode, "uncertainty")), None)

    def volumesMl(self, segmentationNode) -> dict[str, float]:
        """Volume of every segment in ml by segment id: voxel count times voxel volume, without parent transforms.

        Raises what ``segmentSizes`` raises.
        """
        return {identifier: size.volume_ml for identifier, size in self.segmentSizes(segmentationNode).items()}

    def segmentSizes(self, segmentationNode) -> dict[str, SegmentSize]:
        """``voxels``, ``voxel_ml`` and ``volume_ml`` of every segment by its id, hidden ones too; see
        ``mrml_segments.segment_sizes``.

        Raises InputError or GeometryError if the node is not a segmentation or has no geometry.
        """
        return segment_sizes(segmentationNode)

    def showOverlay(self, mapNode, opacity: float = 0.5, onlyNewViews: bool = False):
        """Lay a map (``probabilityNodes``, ``uncertaintyNode``) over the images of all slice views, or of those that
        have come since; None takes it away and gives the views the foreground back that they had.
        """
        import slicer

        if mapNode is None:
            mrml_overlay.hide_overlay(slicer.mrmlScene)
        else:
            mrml_overlay.show_overlay(mapNode, opacity, onlyNewViews)

    def provenance(self, segmentationNode) -> dict[str, Any]:
        """How the segmentation was made (the last run into this node): model, device, software, time; {} if by hand."""
        return mrml.provenance_of(segmentationNode)

    def warnings(self, segmentationNode) -> list[str]:
        """Sentences that name what of the input differed from what the model was made for."""
        return list(self.provenance(segmentationNode).get("warnings", []))

    def saveSegmentation(self, segmentationNode, path) -> Path:
        """Write all segments, hidden ones too, as ``.seg.nrrd`` with provenance: the file ``medsegai segment`` writes.

        Raises OutputError if the file cannot be written; nothing half-written is left behind.
        """
        provenance = self.provenance(segmentationNode)
        metadata = {mrml.PROVENANCE: json.dumps(provenance, sort_keys=True)} if provenance else {}
        write_segmentation(path, mrml.label_map_from_segmentation(segmentationNode), metadata)
        return Path(path)

    def exportSegmentation(
        self, segmentationNode, folder, format: str = "seg.nrrd", *, rtstruct: bool = False, deidentify: bool = False
    ) -> list[Path]:
        """Write a segmentation into a folder, under the node's name; returns the files. None is ever replaced: the
        names get ``_2``, ``_3``.

        ``format``: ``seg.nrrd`` (see ``saveSegmentation``); ``nii.gz``, one value per voxel, with a ``.json`` beside it
        that says which value is which segment, refused if segments overlap; ``dcm`` (see ``exportDicomSeg``), which
        the options are for, with the volume that the segmentation refers to.

        Raises InputError (no segments, unknown format, not from DICOM), OutputError (folder missing, full disk,
        overlap) and what ``exportDicomSeg`` raises; then nothing is left behind.
        """
        return segmentation_export.export_segmentation(self, segmentationNode, folder, format, rtstruct, deidentify)

    def dicomProblem(self, segmentationNode) -> str:
        """A sentence that says why a segmentation cannot be exported as DICOM; empty if it can."""
        return segmentation_export.dicom_problem(segmentationNode)

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
        out and replace all UIDs (see ``Deidentifier``). ``algorithmType``: AUTOMATIC, SEMIAUTOMATIC or MANUAL. None:
        of every segment that a model made, AUTOMATIC unless it was corrected or its status set by a person.

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
            by_segment=dicom_export.algorithms_of_segments(labelMap) if algorithmType is None else None,
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


def _frame(value: str, result) -> tuple:
    """What a sequence node keeps of the result, or of the error, of a frame."""
    if isinstance(result, str):
        logger.warning("Frame %s: %s", value, result)
        return value, None, {}, result
    return value, result.label_map, {**result.provenance, "warnings": list(result.warnings)}, ""
