"""Preprocessing a data set once, before training: in memory if it fits, else in files that are mapped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from MedSegAICore.errors import MedSegAIError, TrainingError
from MedSegAICore.files import atomic_path
from MedSegAILib.inference.preprocessing import prepare_labels, preprocess
from MedSegAILib.models.plans import Configuration
from MedSegAILib.training.dataset import PreparedCase, RawDataset, TrainingCase, prepare_case

MEMORY_BYTES = 2 * 2**30  # prepared cases beyond this are kept in files


def prepare(
    dataset: RawDataset,
    configuration: Configuration,
    values: tuple[int, ...],
    cache: Path,
    progress: Callable[[float, str], None],
) -> dict[str, PreparedCase]:
    """Read and preprocess every case, by id.

    ``values``: all label values that may occur, background first. ``cache``: folder for what does not fit in memory.
    Raises TrainingError that lists every case that cannot be used, with the reason, after all were tried.
    """
    random = np.random.default_rng(0)
    prepared, problems, used = {}, [], 0
    for number, case in enumerate(dataset.cases):
        try:
            image, labels = _prepare(case, configuration, values)
        except MedSegAIError as error:
            problems.append(f"{case.id}: {error}")
            continue
        used += image.nbytes + labels.nbytes
        if used > MEMORY_BYTES:
            image = _mapped(cache / f"{case.id}_image.npy", image)
            labels = _mapped(cache / f"{case.id}_label.npy", labels)
        prepared[case.id] = prepare_case(case.id, image, labels, random)
        progress(0.0, f"prepared {number + 1} of {len(dataset.cases)} cases")
    if problems:
        raise TrainingError(f"{len(problems)} case(s) cannot be used. " + " ".join(problems))
    return prepared


def _prepare(case: TrainingCase, configuration: Configuration, values: tuple[int, ...]):
    image, labels = case.read_turned(configuration.orientation)
    unknown = sorted(set(np.unique(labels).tolist()) - set(values))
    if unknown:
        raise TrainingError(f"The label file holds {unknown[0]}, but the data set knows {list(values)}.")
    if image.channels != len(configuration.normalizations):
        raise TrainingError(f"It has {image.channels} channels, but the plan {len(configuration.normalizations)}.")
    if not np.isfinite(image.array).all():
        raise TrainingError("The image holds NaN or infinite voxels.")
    array, placement = preprocess(image, configuration)
    return array.numpy(), prepare_labels(labels, placement, values)


def _mapped(path: Path, array: np.ndarray) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        np.save(temporary, array)
    return np.load(path, mmap_mode="r")
