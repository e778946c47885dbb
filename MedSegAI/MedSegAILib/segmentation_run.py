"""From nodes to what a model is shown, and from its result to nodes: what runs in and out of process share."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from MedSegAICore import mrml
from MedSegAICore.errors import InputError
from MedSegAICore.mrml_channels import keep_registrations, unaligned_volumes
from MedSegAICore.mrml_maps import add_maps
from MedSegAICore.mrml_roi import box_of_roi
from MedSegAILib.inference.result import MAPS

if TYPE_CHECKING:
    from MedSegAICore.channels import Unaligned
    from MedSegAICore.image import Image
    from MedSegAILib.inference.result import Result
    from MedSegAILib.models.model import Model
    from MedSegAILib.worker.client import Progress, Run

logger = logging.getLogger(__name__)


class SegmentationRun:
    """A segmentation in a worker process; made by ``SegmentationLogic.startSegmentation``.

    Call ``poll`` from a timer until ``done``, then ``result``.
    """

    def __init__(self, request: Request, run: Run):
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
            self._node = self._request.insert(self._run.result(), self._run.alignment)
        return self._node


class Request:
    """What a run was asked for: checked and captured when it begins, written into the scene when it ends."""

    def __init__(self, volumeNodes, model, roiNode, outputSegmentationNode, registration=None):
        nodes = _inOrder(volumeNodes, model)
        self._box = box_of_roi(roiNode, nodes[0]) if roiNode is not None else None
        if outputSegmentationNode is not None:
            mrml.check_target(outputSegmentationNode, nodes[0])  # before minutes of work
        self._volumes = unaligned_volumes(nodes, model.channel_names, registration, self._box)
        self._grid, self._nodes, self._output = mrml.grid_from_volume(nodes[0]), nodes, outputSegmentationNode
        self._registrations, self._warnings = (), ()
        self._captured = Captured([*nodes, *([outputSegmentationNode] if outputSegmentationNode is not None else [])])

    def takeImage(self, say=None, cancelled=None) -> Image:
        """The image that the model is to see, aligned here. It is given away, so that it is not kept in memory during
        the run."""
        aligned = self._volumes.align(say, cancelled)
        self._volumes = None
        self._registrations, self._warnings = aligned.registrations, aligned.image.meta["warnings"]
        return aligned.image

    def takeVolumes(self) -> Image | Unaligned:
        """The same for another process, which can align several volumes, unless one is under a non-linear transform."""
        if len(self._volumes.channels) == 1 or not self._volumes.is_portable:
            return self.takeImage()
        volumes, self._volumes = self._volumes, None
        return volumes

    def insert(self, result: Result, alignment=None):
        """Write the result into the scene; returns the segmentation node. Raises InputError if a node has vanished.

        ``alignment``: registrations and warnings, where another process aligned the volumes.
        """
        self._captured.check()
        if not mrml.grid_from_volume(self._nodes[0]).matches(self._grid):
            raise InputError(
                f"{self._captured.names[0]!r} was moved, resampled or cropped while it was being segmented, so the "
                "segments do not lie on it any more. Nothing was written. Run the model again."
            )
        if alignment is not None:
            self._registrations, self._warnings = alignment
        volume, warnings = self._nodes[0], [*self._warnings, *result.warnings]
        for warning in warnings:
            logger.warning("%s: %s", volume.GetID(), warning)  # its name may be a patient's
        if self._box is not None:
            result = result.placed_in(self._grid, self._box)
        provenance = {**result.provenance, "warnings": warnings}
        node = mrml.segmentation_from_label_map(result.label_map, volume, node=self._output, provenance=provenance)
        keep_registrations(self._registrations, self._nodes, node)
        names = {"probabilities": [f"{label.name} probability" for label in result.label_map.labels],
                 "uncertainty": [f"{node.GetName()} uncertainty"]}  # fmt: skip
        for kind in MAPS:
            if (image := getattr(result, kind)) is not None:
                add_maps(node, volume, kind, image, names[kind])
        return node


def protocolDifferences(volumeNodes, model, roiNode=None) -> list[str]:
    """Sentences about what of the nodes differs from what the model is for; no voxel is read, so it takes no time.

    Raises InputError as ``Request``.
    """
    nodes = _inOrder(volumeNodes, model)
    grid = mrml.grid_from_volume(nodes[0])
    if roiNode is not None:
        box = box_of_roi(roiNode, nodes[0])
        grid = grid.crop([part.start for part in box], [part.stop - part.start for part in box])
    found = []
    if len(model.tile) == 3 and grid.shape[0] == 1:
        found.append("The volume is a single slice, but the model is three-dimensional.")
    twice = {node.GetName() for node in nodes if nodes.count(node) > 1}
    found += [f"The volume {name!r} is chosen for several channels." for name in sorted(twice)]
    if model.card is None:
        return [*found, "This model has no model card: what it is for and how good it is is unknown."]
    found += model.card.sentences(grid, mrml.meta_of_volume(nodes[0]).get("modality", ""))
    rules = {rule.name: rule.modality for rule in model.card.input.channels}
    for name, node in list(zip(model.channel_names, nodes, strict=False))[1:]:
        modality, wanted = mrml.meta_of_volume(node).get("modality", ""), rules.get(name, ())
        if modality and wanted and modality not in wanted:
            found.append(f"The modality of {name} is {modality}, but it should be {' or '.join(wanted)}.")
    return found


def _inOrder(volumeNodes, model: Model) -> list:
    """The nodes in the order of the model's channels."""
    if not isinstance(volumeNodes, Mapping):
        return list(volumeNodes) if isinstance(volumeNodes, (list, tuple)) else [volumeNodes]
    names = model.channel_names
    if set(volumeNodes) != set(names):
        raise InputError(
            f"The model {model.id} has the channels {', '.join(names)}, but volumes were given for "
            f"{', '.join(map(str, volumeNodes)) or 'none'}."
        )
    return [volumeNodes[name] for name in names]


class Captured:
    """The nodes a run began with. While it runs, the scene can be closed or nodes be deleted by other code."""

    def __init__(self, nodes):
        self._nodes = [(node, node.GetName(), node.GetScene()) for node in nodes]

    @property
    def names(self) -> list[str]:
        """As they were when the run began."""
        return [name for _node, name, _scene in self._nodes]

    def check(self):
        for node, name, scene in self._nodes:
            if scene is None or not scene.IsNodePresent(node):
                raise InputError(
                    f"{name!r} was removed from the scene while it was being segmented. Nothing was written."
                )
