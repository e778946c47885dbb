"""A small annotation study: oblique anisotropic images, two overlapping segments, two annotators with names."""

from pathlib import Path

import numpy as np

from MedSegAICore.files import write_image
from MedSegAICore.grid import Grid
from MedSegAICore.image import Image, Label, LabelMap
from MedSegAILib.study import SegmentDefinition, Study, StudyDefinition

NAMES = ("Miller Ann", "Jones Bob")
LIVER_TERMS = (
    "Segmentation category and type - DICOM master list~SCT^123037004^Anatomical Structure~SCT^10200004^Liver"
    "~^^~Anatomic codes - DICOM master list~^^~^^"
)
SEGMENTS = (
    SegmentDefinition("liver", "Liver", (0.8, 0.3, 0.2), LIVER_TERMS),
    SegmentDefinition("lesion", "Lesion", (0.1, 0.9, 0.2), allow_empty=True),
)
SHAPE = (6, 9, 8)


def oblique_grid(shift=0.0):
    angle = np.radians(20)
    rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = rotation @ np.diag([-0.7, 0.9, 2.5])
    matrix[:3, 3] = 12.3 + shift, -45.6, 78.9
    return Grid(SHAPE, matrix)


def make_study(folder: Path, cases=4, **definition):
    """A study in ``folder/share/study`` with images assigned to two annotators; names in ``folder/private``."""
    (folder / "share").mkdir(parents=True)
    (folder / "private").mkdir()
    (folder / "incoming").mkdir()
    study = Study.create(
        folder / "share/study", StudyDefinition("Liver study", SEGMENTS, **{"seed": 7, "washout_days": 0, **definition})
    )
    images = []
    for number in range(cases):
        path = folder / "incoming" / f"Doe_John_{number}.nrrd"
        array = np.random.default_rng(number).normal(100, 20, (1, *SHAPE)).astype(np.float32)
        write_image(path, Image(array, oblique_grid(number)))
        images.append(path)
    study.add_cases(images, private=folder / "private")
    study.assign(NAMES, private=folder / "private")
    return study


def drawing(grid, seed=0):
    """Liver and lesion that overlap, with an empty segment of the annotator's own."""
    layers = np.zeros((2, *grid.shape), np.uint8)
    layers[0, 1:4, 2:7, 1:6] = 1
    layers[1, 2:5, 3:5, 2:4] = 1
    layers[0, 5, np.unravel_index(seed % 72, (9, 8))[0], seed % 8] = 1
    labels = (
        Label(1, "liver", "Liver", (0.8, 0.3, 0.2), LIVER_TERMS, 0, (("Segmentation.Status", "inprogress"),)),
        Label(1, "lesion", "Lesion", (0.1, 0.9, 0.2), "", 1),
        Label(2, "note", "Ünsicher", (0.1, 0.1, 0.2), "", 1),
    )
    return LabelMap(layers, grid, labels)
