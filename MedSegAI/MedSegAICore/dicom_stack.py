"""Order DICOM slices into regular stacks and compute each stack's grid from positions and orientations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from MedSegAICore.errors import GeometryError
from MedSegAICore.grid import LPS_FROM_RAS, Grid

# Deviation of slices from a regular stack, in units of the slice distance: unremarkable, and still usable.
_UNREMARKABLE, _TOLERABLE = 2e-3, 0.1
_SAME_PLACE_MM = 0.01
_SAME_COSINE = 1e-3
_TILT_DEG = 0.1  # smaller angles come from rounded headers

# What may tell apart several volumes in one series, tried in this order.
_DISTINCTIONS = (
    "AcquisitionNumber",
    "EchoTime",
    "EchoNumbers",
    "TemporalPositionIdentifier",
    "DiffusionBValue",
    "ImageType",
    "TriggerTime",
    "AcquisitionTime",
    "ContentTime",
)


@dataclass(frozen=True, eq=False)
class Slice:
    """One frame of a file: where it lies (LPS mm) and how its stored values become intensities."""

    file: Path
    frame: int
    uid: str
    rows: int
    columns: int
    number: int
    position: np.ndarray | None
    axes: np.ndarray | None  # 2x3: unit vectors along a row (I) and along a column (J)
    spacing_ji: tuple[float, float] | None
    thickness: float
    slope: float = 1.0
    intercept: float = 0.0
    distinctions: dict[str, str] = field(default_factory=dict)

    @property
    def normal(self) -> np.ndarray:
        return np.cross(*self.axes)


@dataclass(frozen=True)
class Stack:
    """Slices in order with the grid they form, or why they form none."""

    slices: Sequence[Slice]
    grid: Grid | None = None
    part: str = ""
    problems: tuple[str, ...] = ()
    unusable: str = ""


def slices_of(file: Path, header) -> Iterator[Slice]:
    """The frames of a file: one of a classic object, several of an enhanced multi-frame object (PS3.3 C.7.6.16)."""
    shared = _first(header.get("SharedFunctionalGroupsSequence"))
    frames = header.get("PerFrameFunctionalGroupsSequence") or [None] * int(header.get("NumberOfFrames") or 1)
    for index, frame in enumerate(frames):
        groups = [group for group in (frame, shared) if group is not None]
        find = _finder(header, groups)
        orientation = find("ImageOrientationPatient", "PlaneOrientationSequence", 6)
        spacing = find("PixelSpacing", "PixelMeasuresSequence", 2) or find("ImagerPixelSpacing", "", 2)
        thickness = find("SpacingBetweenSlices", "PixelMeasuresSequence", 1) or find(
            "SliceThickness", "PixelMeasuresSequence", 1
        )
        position = find("ImagePositionPatient", "PlanePositionSequence", 3)
        yield Slice(
            file,
            index,
            str(header.get("SOPInstanceUID", file)),
            int(header.Rows),
            int(header.Columns),
            int(header.get("InstanceNumber") or 0),
            None if position is None else np.array(position),
            None if orientation is None else _unit(np.reshape(orientation, (2, 3))),
            spacing,
            abs(thickness[0]) if thickness and thickness[0] else 1.0,
            *_rescale(find),
            _distinctions(header, groups),
        )


def _first(sequence):
    return sequence[0] if sequence else None


def _unit(axes: np.ndarray) -> np.ndarray | None:
    """Cosines in files are rounded; their length must not change the spacing."""
    length = np.linalg.norm(axes, axis=1, keepdims=True)
    return axes / length if (length > 0.5).all() else None


def _finder(header, groups: list) -> Callable[[str, str, int], tuple[float, ...] | None]:
    """A function that gives numbers of a tag from the frame's, the shared or the file's attributes."""

    def find(tag: str, sequence: str, count: int) -> tuple[float, ...] | None:
        holders = [_first(group.get(sequence)) for group in groups if sequence] + [header]
        for holder in holders:
            try:
                value = holder.get(tag) if holder is not None else None
                numbers = np.atleast_1d(np.array(value, dtype=float)) if value is not None else np.empty(0)
            except (ValueError, TypeError):
                continue
            if numbers.size == count and np.isfinite(numbers).all():
                return tuple(numbers.tolist())
        return None

    return find


def _rescale(find) -> tuple[float, float]:
    slope = find("RescaleSlope", "PixelValueTransformationSequence", 1)
    intercept = find("RescaleIntercept", "PixelValueTransformationSequence", 1)
    return (slope[0] if slope and slope[0] else 1.0), (intercept[0] if intercept else 0.0)


def _distinctions(header, groups: list) -> dict[str, str]:
    values = {tag: _text(header[tag].value) for tag in _DISTINCTIONS if tag in header}
    places = (
        ("EchoTime", "MREchoSequence", "EffectiveEchoTime"),
        ("TemporalPositionIdentifier", "FrameContentSequence", "TemporalPositionIndex"),
        ("DiffusionBValue", "MRDiffusionSequence", "DiffusionBValue"),
        ("ImageType", "MRImageFrameTypeSequence", "FrameType"),
    )
    for name, sequence, tag in places:
        for group in reversed(groups):
            holder = _first(group.get(sequence))
            if holder is not None and tag in holder:
                values[name] = _text(holder[tag].value)
    return values


def _text(value) -> str:
    several = hasattr(value, "__iter__") and not isinstance(value, str)
    return "\\".join(map(str, value)) if several else str(value)


def split_into_stacks(slices: Sequence[Slice]) -> list[Stack]:
    """Stacks of equal orientation, size and spacing, with one slice per position."""
    slices = list({(part.uid, part.frame): part for part in slices}.values())  # the same file twice counts once
    alike = _alike(slices)
    stacks = []
    for number, group in enumerate(alike, start=1):
        prefix = f"part {number} of {len(alike)}" if len(alike) > 1 else ""
        for part, members in _without_repetition(group):
            stacks.append(_stack(members, ", ".join(filter(None, [prefix, part]))))
    return stacks


def _alike(slices: Sequence[Slice]) -> list[list[Slice]]:
    groups: list[list[Slice]] = []
    for part in slices:
        group = next((g for g in groups if _match(g[0], part)), None)
        if group is None:
            groups.append([part])
        else:
            group.append(part)
    return groups


def _match(one: Slice, other: Slice) -> bool:
    if (one.rows, one.columns) != (other.rows, other.columns) or (one.axes is None) != (other.axes is None):
        return False
    if (one.spacing_ji is None) != (other.spacing_ji is None) or (one.position is None) != (other.position is None):
        return False
    if one.spacing_ji and not np.allclose(one.spacing_ji, other.spacing_ji, rtol=1e-3):
        return False
    return one.axes is None or bool(np.abs(one.axes - other.axes).max() < _SAME_COSINE)


def _without_repetition(group: list[Slice]) -> list[tuple[str, list[Slice]]]:
    """Parts of a group in which no two slices lie at one place, if their headers or their order separate them."""
    counts = _counts_by_place(group)
    volumes = max(counts)
    if volumes == 1:
        return [("", group)]
    for name in _DISTINCTIONS:
        parts: dict[str, list[Slice]] = defaultdict(list)
        for member in group:
            parts[member.distinctions.get(name, "")].append(member)
        # As many parts as volumes: a time that differs from slice to slice separates nothing.
        if len(parts) == volumes and all(max(_counts_by_place(part)) == 1 for part in parts.values()):
            return [(f"{name} {value}", part) for value, part in parts.items()]
    return _by_order(group, volumes) if min(counts) == volumes else [("", group)]


def _by_order(group: list[Slice], volumes: int) -> list[tuple[str, list[Slice]]]:
    """Volumes that were numbered one after the other, or place by place."""
    ordered = sorted(group, key=lambda member: (member.number, member.frame))
    if len({(member.number, member.frame) for member in ordered}) < len(ordered):
        return [("", group)]
    count = len(ordered) // volumes
    for parts in (
        [ordered[start : start + count] for start in range(0, len(ordered), count)],
        [ordered[start::volumes] for start in range(volumes)],
    ):
        if all(max(_counts_by_place(part)) == 1 for part in parts):
            return [(f"volume {number} of {volumes}", part) for number, part in enumerate(parts, start=1)]
    return [("", group)]


def _counts_by_place(group: Sequence[Slice]) -> list[int]:
    """How many slices lie at each depth; one if nothing is known about places."""
    if group[0].position is None or group[0].axes is None:
        return [1]
    depths = np.sort([part.position @ group[0].normal for part in group])
    place = np.cumsum(np.diff(depths, prepend=depths[0]) >= _SAME_PLACE_MM)
    return np.bincount(place).tolist()


def _stack(members: list[Slice], part: str) -> Stack:
    first = members[0]
    if first.position is None or first.axes is None or first.spacing_ji is None:
        return _unlocated(members, part)
    members = sorted(members, key=lambda member: float(member.position @ first.normal))
    if max(_counts_by_place(members)) > 1:
        reason = "several slices lie at the same place and nothing in their headers tells them apart"
        return Stack(members, None, part, (), reason)
    positions = np.array([member.position for member in members])
    count = len(members)
    step = (positions[-1] - positions[0]) / (count - 1) if count > 1 else first.normal * first.thickness
    problems, unusable = _regularity(positions, step, first.normal)
    if unusable:
        return Stack(members, None, part, problems, unusable)
    first = members[0]
    matrix = np.eye(4)
    matrix[:3, 0] = first.axes[0] * first.spacing_ji[1]
    matrix[:3, 1] = first.axes[1] * first.spacing_ji[0]
    matrix[:3, 2] = step
    matrix[:3, 3] = positions[0]
    try:
        return Stack(members, Grid((count, first.rows, first.columns), LPS_FROM_RAS @ matrix), part, problems)
    except GeometryError as error:
        return Stack(members, None, part, problems, f"its geometry is not usable ({error})")


def _unlocated(members: list[Slice], part: str) -> Stack:
    """Images without a place in the patient (radiographs, screenshots): one is a 2-D image, several are no volume."""
    first = members[0]
    if len(members) > 1:
        return Stack(members, None, part, (), "its slices have no position, orientation or pixel spacing")
    spacing = [abs(mm) or 1.0 for mm in first.spacing_ji or (1.0, 1.0)]
    grid = Grid.from_lps((1, first.rows, first.columns), (0, 0, 0), (spacing[1], spacing[0], 1), np.eye(3).ravel())
    return Stack(members, grid, part, ("The image has no position and orientation in the patient.",))


def _regularity(positions: np.ndarray, step: np.ndarray, normal: np.ndarray) -> tuple[tuple[str, ...], str]:
    """Problems of a stack, and why it is no regular grid (or empty)."""
    distance = float(np.linalg.norm(step))
    if len(positions) < 2:
        return (), ""
    regular = positions[0] + np.arange(len(positions))[:, None] * step
    deviation = float(np.linalg.norm(positions - regular, axis=1).max())
    gaps = np.diff(positions @ normal)
    usual = float(np.median(gaps))
    if deviation > _TOLERABLE * distance:
        if gaps.max() > 1.5 * usual:
            missing = int(np.rint(gaps / usual - 1).clip(min=0).sum())
            return (), (
                f"about {missing} slice(s) are missing (usual distance {usual:.4g} mm, largest {gaps.max():.4g} mm "
                f"after slice {int(gaps.argmax()) + 1} of {len(positions)})"
            )
        return (), f"its slices are not evenly spaced (distances from {gaps.min():.4g} to {gaps.max():.4g} mm)"
    problems = []
    if deviation > max(_UNREMARKABLE * distance, _SAME_PLACE_MM):
        problems.append(f"Slices lie up to {deviation:.3g} mm away from an even spacing; the mean spacing was used.")
    tilt = float(np.degrees(np.arccos(min(1.0, abs(float(step @ normal)) / distance))))
    if tilt > _TILT_DEG:
        problems.append(f"The slices are tilted by {tilt:.1f} degrees (gantry tilt); the sheared grid was kept.")
    return tuple(problems), ""


def sparse_stack(slices: Sequence[Slice], spacing_mm: float | None) -> tuple[Grid, list[int]]:
    """The grid of slices of which some are missing or lie several times at one place, and the K of each slice.

    Segmentation objects leave empty slices out and store each segment by itself, in any order. ``spacing_mm``: the
    distance between slices that the file declares; without it, or if the places contradict it, the smallest distance
    is taken. The grid reaches from the first to the last slice that is there.

    Raises GeometryError if the slices lie on no regular grid.
    """
    first = slices[0]
    if len(_alike(slices)) > 1:
        raise GeometryError("its frames differ in orientation, size or pixel spacing")
    if first.position is None or first.axes is None or first.spacing_ji is None:
        return _unlocated([first], "").grid, [0] * len(slices)
    positions = np.array([part.position for part in slices])
    order = np.argsort(positions @ first.normal, kind="stable")
    gaps = np.diff((positions @ first.normal)[order], prepend=(positions @ first.normal)[order[0]])
    count, place = _counted(gaps[gaps >= _SAME_PLACE_MM], (spacing_mm, first.thickness)), np.zeros(len(slices), int)
    place[order[gaps >= _SAME_PLACE_MM]] = count
    place[order] = np.cumsum(place[order])
    last = int(place[order[-1]])
    start, end = positions[order[0]], positions[order[-1]]
    step = (end - start) / last if last else first.normal * first.thickness
    away = float(np.linalg.norm(positions - (start + place[:, None] * step), axis=1).max())
    if away > _TOLERABLE * np.linalg.norm(step):
        raise GeometryError(f"its frames lie up to {away:.3g} mm away from an even spacing")
    matrix = np.eye(4)
    matrix[:3, :3] = np.column_stack([first.axes[0] * first.spacing_ji[1], first.axes[1] * first.spacing_ji[0], step])
    matrix[:3, 3] = start
    return Grid((last + 1, first.rows, first.columns), LPS_FROM_RAS @ matrix), place.tolist()


def _counted(gaps: np.ndarray, spacings_mm: Sequence[float | None]) -> np.ndarray:
    """How many slice distances each gap is: of the declared distance, else of the smallest gap, else of the others."""
    if len(gaps) == 0:
        return gaps.astype(int)
    for spacing in (spacings_mm[0], float(gaps.min()), *spacings_mm[1:]):
        if not spacing or spacing < _SAME_PLACE_MM:
            continue
        counts = np.rint(gaps / spacing)
        if counts.min() >= 1 and np.abs(gaps / spacing - counts).max() <= _TOLERABLE:
            return counts.astype(int)
    raise GeometryError(f"its frames are not evenly spaced (distances from {gaps.min():.4g} to {gaps.max():.4g} mm)")
