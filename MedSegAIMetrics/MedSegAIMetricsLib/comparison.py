"""Compare two masks or label maps: every label, every measure, in one call."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from MedSegAICore.errors import InputError
from MedSegAIMetricsLib.boundary import boundary_iou
from MedSegAIMetricsLib.lesions import lesion_measures
from MedSegAIMetricsLib.masks import MaskPair, mask_pairs
from MedSegAIMetricsLib.measures import DEFAULT_SURFACE, Measure, select
from MedSegAIMetricsLib.overlap import FORMULAS, UNDEFINED, Confusion, f_beta
from MedSegAIMetricsLib.region import Region
from MedSegAIMetricsLib.surface import NotSmooth, summarize, surface_distances
from MedSegAIMetricsLib.volume import volume_measures


@dataclass(frozen=True)
class Settings:
    """What is measured: see ``compare``."""

    measures: tuple[Measure, ...]
    region: Region
    lesion_threshold: float

    @classmethod
    def of(
        cls,
        measures: Sequence[str] | None = None,
        *,
        region: str = "image",
        lesion_threshold: float = 0.0,
        **parameters,
    ) -> Settings:
        """``parameters``: those of ``MedSegAIMetricsLib.measures.select``. Raises InputError for wrong ones."""
        chosen = select(measures, **parameters)
        if not 0 <= lesion_threshold < 1:
            raise InputError(
                f"A lesion threshold is a Jaccard from 0 up to, but not including, 1, but it is {lesion_threshold}."
            )
        return cls(tuple(chosen), Region.parse(region), lesion_threshold)


@dataclass
class LabelMeasures:
    """The measures of one label.

    ``values``: by measure name, in the order of the registry. ``reasons``: for values that do not exist (NaN) or hold
    by convention, why. ``fingerprint``: of the two masks, where it was asked for.
    """

    values: dict[str, float]
    reasons: dict[str, str]
    fingerprint: str = ""

    @property
    def reason(self) -> str:
        """All reasons in one text, each once: the table's reason column."""
        return "; ".join(dict.fromkeys(self.reasons.values()))


class Comparison(dict):
    """``{label value: {measure name: float}}`` with what belongs to it.

    ``reasons``: ``{label value: {measure name: why it is NaN or holds by convention}}``. ``measures``: what is known of
    each column. ``region``: where true negatives were counted.
    """

    def __init__(self, labels: Mapping[int, LabelMeasures], settings: Settings):
        super().__init__({label: measured.values for label, measured in labels.items()})
        self.reasons = {label: measured.reasons for label, measured in labels.items()}
        self.measures = settings.measures
        self.region = str(settings.region)


def compare(
    reference: np.ndarray,
    test: np.ndarray,
    spacing_mm: Sequence[float],
    labels: Sequence[int] | None = None,
    measures: Sequence[str] | None = None,
    *,
    tolerances_mm: Sequence[float] = (1, 2, 3),
    percentiles: Sequence[float] = (95,),
    betas: Sequence[float] = (0.5, 2),
    surface: str = DEFAULT_SURFACE,
    region: str = "image",
    lesion_threshold: float = 0.0,
) -> Comparison:
    """Compare a test with a reference; both lie on one grid.

    >>> compare(reference, test, (5.0, 0.68, 0.68))[1]["dice"]
    0.8868933957589895

    ``reference``, ``test``: masks or label maps (K, J, I), bool or any integer type, contiguous or not.
    ``spacing_mm``: in the order of the axes, K, J, I.
    ``labels``: the values to compare; None means all but 0 that occur in either array. A bool array has label 1.
    ``measures``: names and groups, see ``MedSegAIMetricsLib.measures.select``; None means all but those on request.
    ``tolerances_mm``: of the surface Dice. ``percentiles``: of the Hausdorff distance. ``betas``: of F-beta.
    ``surface``: where distances are taken: ``face`` (the exact voxel-face surface, weighted by area), ``surfel`` (as
    surface-distance), ``voxelcenter`` (as medpy and MONAI) or ``smooth`` (for smooth anatomy).
    ``region``: where true negatives are counted: ``image``, or the box of both masks and a margin: ``union+10mm``.
    ``lesion_threshold``: two lesions can match if their Jaccard exceeds this.

    Returns ``{label: {measure: value}}``; see ``Comparison`` for reasons and definitions.
    Raises InputError for arrays that are no label maps, unknown measures or labels; GeometryError for shapes that
    differ and for a spacing that is not positive.
    """
    settings = Settings.of(
        measures,
        tolerances_mm=tolerances_mm,
        percentiles=percentiles,
        betas=betas,
        surface=surface,
        region=region,
        lesion_threshold=lesion_threshold,
    )
    pairs = mask_pairs(reference, test, spacing_mm, labels)
    return Comparison({pair.label: measure(pair, settings) for pair in pairs}, settings)


def measure(pair: MaskPair, settings: Settings) -> LabelMeasures:
    """The measures of one pair of masks."""
    raw = dict(_formulas(pair, settings))
    raw |= volume_measures(pair) if _any(settings.measures, "volume") else {}
    raw |= lesion_measures(pair, settings.lesion_threshold) if _any(settings.measures, "lesions") else {}
    values, reasons = {}, {}
    if not pair.empty:
        raw |= _surface_values(pair, settings.measures, reasons)
    for wanted in settings.measures:
        value = _by_convention(wanted, pair)
        if value is None:
            value = float(raw[wanted.name])
        else:
            reasons[wanted.name] = _EMPTY[pair.empty]
        if math.isnan(value):
            reasons.setdefault(wanted.name, _why_undefined(wanted, pair))
        values[wanted.name] = value
    return LabelMeasures(values, reasons)


_EMPTY = {"both": "both masks are empty", "reference": "the reference is empty", "test": "the test is empty"}


def _by_convention(wanted: Measure, pair: MaskPair) -> float | None:
    if not pair.empty:
        return None
    return wanted.both_empty if pair.empty == "both" else wanted.one_empty


def _why_undefined(wanted: Measure, pair: MaskPair) -> str:
    if pair.empty == "both" or (pair.empty and wanted.name not in ("specificity", "npv")):
        return _EMPTY[pair.empty]
    if wanted.group == "lesions":
        return "no lesion to count"
    if wanted.name.startswith("boundary_iou"):
        return "no voxel is within the distance of its mask's surface"
    return UNDEFINED.get(wanted.name, "not defined")


def _formulas(pair: MaskPair, settings: Settings) -> Iterable[tuple[str, float]]:
    """Everything that needs no more than numbers of voxels, and the boundary IoU."""
    tp = pair.n_both
    fp, fn = pair.n_test - tp, pair.n_reference - tp
    confusion = Confusion(tp, fp, fn, settings.region.voxels(pair) - tp - fp - fn)
    shells = [m for m in settings.measures if m.name.startswith("boundary_iou")]
    if shells and not pair.empty:
        values = boundary_iou(pair, [m.value for m in shells])
        yield from ((m.name, value) for m, value in zip(shells, values, strict=True))
    for wanted in settings.measures:
        if wanted.name in FORMULAS:
            yield wanted.name, FORMULAS[wanted.name](confusion)
        elif wanted.parameter == "beta":
            yield wanted.name, f_beta(confusion, wanted.value)


def _surface_values(pair: MaskPair, measures: Sequence[Measure], reasons: dict[str, str]) -> dict[str, float]:
    """Surface measures; the distances are computed once for each surface that is asked for."""
    values = {}
    for surface in dict.fromkeys(m.surface for m in measures if m.surface):
        own = [m for m in measures if m.surface == surface]
        try:
            directed = surface_distances(pair.reference, pair.test, pair.spacing_mm, surface)
            values |= summarize(directed, own, surface == "voxelcenter")
        except NotSmooth as error:
            values |= {m.name: math.nan for m in own}
            reasons |= {m.name: str(error) for m in own}
    return values


def _any(measures: Sequence[Measure], group: str) -> bool:
    return any(m.group == group for m in measures)
