"""Several observers' segmentations as nodes: what the Python console and scripts call; a part of ``ComparisonLogic``.

>>> result = logic.compareObservers([segmentation1, segmentation2, segmentation3])
>>> result.agreement.segments["liver"].value("ci_gen").value
0.8312
>>> table = logic.createObserversTable(result)
>>> consensus = logic.createConsensus(result, "majority")
>>> probability, entropy = logic.createVoteMaps(result)["liver"]
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from MedSegAICore.errors import InputError
from MedSegAICore.grid import Grid
from MedSegAICore.image import LabelMap
from MedSegAICore.mrml import segmentation_from_label_map, volume_node_from_image
from MedSegAICore.mrml_maps import show_as_overlay
from MedSegAICore.mrml_tables import Column, table_node_from_columns
from MedSegAICore.mrml_world import label_map_in_world, world_grid
from MedSegAIMetricsLib.observer_comparison import ObserverComparison, compare_observers
from MedSegAIMetricsLib.observer_measures import observer_measure
from MedSegAIMetricsLib.observer_tables import Rows, agreement_rows, pair_rows, volume_rows
from MedSegAIMetricsLib.votes import DEFAULT_REGION

TABLES = {"agreement": agreement_rows, "pairs": pair_rows, "volumes": volume_rows}
OBSERVER_ROLE = "observer"  # in which a table or a consensus refers to the nodes that were compared
TEXTS = {
    "segment": ("Segment", "", "Name of the segment, the first observer's who has it"),
    "observers": ("Observers", "", "How many there are"),
    "observer": ("Observer", "", "Name of the node"),
    "observer_1": ("Observer 1", "", "The reference, where a measure knows a direction"),
    "observer_2": ("Observer 2", "", "The test, where a measure knows a direction"),
    "volume_ml": ("Volume", "ml", "Number of voxels times volume of a voxel"),
    "inferior_limit_mm": ("Inferior limit", "mm", "The smallest S of the segment's voxels, in world coordinates"),
    "superior_limit_mm": ("Superior limit", "mm", "The largest S of the segment's voxels, in world coordinates"),
    "length_mm": ("Length", "mm", "Superior - inferior limit"),
    "disputed_ml": ("Disputed volume", "ml", "Volume that some observers marked, but not all"),
    "entropy_ml": (
        "Entropy",
        "bit ml",
        "Sum over the voxels of how undecided the observers are (0 to 1 bit) times volume",
    ),
    "region": ("Region", "", "Where background is counted"),
    "reason": ("Reason", "", "Why values do not exist or hold by convention"),
}


class ObserverLogic:
    """A class to mix in, without a constructor."""

    def compareObservers(
        self,
        nodes: Sequence,
        *,
        measures: Sequence[str] | None = None,
        region: str = DEFAULT_REGION,
        grid=None,
        progress: Callable[[float, str], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
        **settings,
    ) -> ObserverComparison:
        """Compare the segments of two or more nodes, every pair and all together, in world coordinates.

        ``nodes``: a segmentation, label map volume or model of each observer, under any parent transforms; never the
        AI's draft. Hidden segments are included, overlapping ones kept apart. An observer is called as the node.
        ``grid``: a volume node on whose voxels is measured; None takes the first node's that has voxels. It is extended
        where segments reach beyond it; what has other voxels is resampled by nearest neighbor, as ``agreement.notes``
        of the result says. The others: as for ``MedSegAIMetricsLib.observer_comparison.compare_observers``.

        Raises InputError for fewer than two nodes, a node that occurs twice or has no segments, and no segment in
        common; GeometryError if there is no grid to measure on; Cancelled.
        """
        label_maps, named, notes = _label_maps(list(nodes), grid)
        result = compare_observers(
            label_maps,
            measures,
            region=region,
            grid=named,
            name=", ".join(label_maps),
            notes=notes,
            progress=progress,
            cancelled=cancelled,
            **settings,
        )
        return dataclasses.replace(result, node_ids=tuple(node.GetID() for node in nodes))

    def createObserversTable(self, result: ObserverComparison, kind: str = "agreement", name: str | None = None):
        """A table node; typed columns with title, unit and description.

        ``kind``: ``agreement`` (a row for each segment), ``pairs`` (for each segment and pair of observers) or
        ``volumes`` (for each segment and observer). Raises InputError for another kind.
        """
        if kind not in TABLES:
            raise InputError(f"A table of observers is one of {', '.join(TABLES)}, but the kind is {kind!r}.")
        rows = TABLES[kind]({"": result.agreement})
        node = table_node_from_columns(_columns(rows, result), name or f"Observers, {kind}: {result.name}")
        _refer_to_observers(node, result)
        return node

    def createConsensus(self, result: ObserverComparison, method: str = "majority", **settings):
        """A segmentation node with the consensus of each segment, in world coordinates.

        ``method``: ``majority``, ``staple`` or ``shape``; ``settings``: see ``consensus_of_labels``. Its provenance
        says how it was made, and of whom. Raises InputError for another method.
        """
        consensus = result.consensus(method, **settings)
        provenance = result.provenance(consensus, method)
        node = segmentation_from_label_map(
            consensus.label_map, name=f"Consensus ({method}): {result.name}", provenance=provenance
        )
        _refer_to_observers(node, result)
        return node

    def createVoteMaps(self, result: ObserverComparison, segmentIds: Sequence[str] | None = None) -> dict[str, tuple]:
        """For each segment two volume nodes, in world coordinates: the share of observers who marked a voxel, and how
        undecided they are there (entropy in bits, 0 to 1). Raises InputError for a segment that does not exist.
        """
        chosen = list(result.agreement.segments if segmentIds is None else segmentIds)
        maps = {key: result.vote_maps(key) for key in chosen}  # before a node is made
        nodes = {}
        for key, own in maps.items():
            title = result.agreement.segments[key].segment.name
            nodes[key] = (
                volume_node_from_image(own.probability, f"{title} probability", show=show_as_overlay),
                volume_node_from_image(own.entropy, f"{title} entropy", show=show_as_overlay),
            )
        return nodes


def _label_maps(nodes: list, gridNode) -> tuple[dict[str, LabelMap], Grid, list[str]]:
    """The nodes' segments by observer, in the world on the voxels of one grid, each extended to hold its own segments;
    that grid; and sentences about what was resampled."""
    if len(nodes) < 2:
        raise InputError(f"Agreement needs the segmentations of at least two observers, but there are {len(nodes)}.")
    if any(node is None for node in nodes):
        raise InputError("One of the observers' nodes is missing. Choose a segmentation for each observer.")
    for node in nodes:
        if sum(other is node for other in nodes) > 1:
            raise InputError(f"{node.GetName()!r} is given twice, but an observer has one segmentation.")
    named, names = _named_grid(nodes, gridNode), _names(nodes)
    label_maps, notes = {}, []
    for name, node in zip(names, nodes, strict=True):
        label_maps[name], resampled = label_map_in_world(node, named)
        if resampled:
            notes.append(f"{name!r} was resampled by nearest neighbor to {named}.")
    return label_maps, named, notes


def _named_grid(nodes: list, gridNode) -> Grid:
    if gridNode is not None:
        return world_grid(gridNode)
    node = next((node for node in nodes if not node.IsA("vtkMRMLModelNode")), None)
    if node is None:
        raise InputError("Models have no voxels to be compared on. Give a volume node as grid.")
    return world_grid(node)


def _names(nodes: list) -> list[str]:
    """Of the nodes, with a number where several have the same name."""
    names: list[str] = []
    for node in nodes:
        name, number = node.GetName(), 2
        while name in names:
            name, number = f"{node.GetName()} ({number})", number + 1
        names.append(name)
    return names


def _columns(rows: Rows, result: ObserverComparison) -> list[Column]:
    of_pairs = {measure.name: measure for measure in result.agreement.measures}
    columns = []
    for key in rows[0]:
        if key in ("case", "segment_id"):
            continue
        if key in TEXTS:
            texts = TEXTS[key]
        else:
            measure = of_pairs[key] if key in of_pairs else observer_measure(key)
            texts = (measure.title, measure.unit, measure.description)
        columns.append(Column(key, [row[key] for row in rows], *texts))
    return columns


def _refer_to_observers(node, result: ObserverComparison):
    """Nodes of observers that are still in the scene."""
    for identifier in result.node_ids:
        if node.GetScene().GetNodeByID(identifier) is not None:
            node.AddNodeReferenceID(OBSERVER_ROLE, identifier)
