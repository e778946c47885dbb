"""The registry of measures: what each one is called, what it means, where it comes from, and what empty masks give.

A name says its convention and unit: ``hd95_maxdir_mm``. Names with a parameter are families: ``hd95_maxdir_mm`` belongs
to ``hd{p}_maxdir_mm``. Surface measures are taken on the exact voxel-face surface; on another surface the name says so
after its stem: ``hd95_voxelcenter_maxdir_mm``.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from MedSegAICore.errors import InputError

NAN = float("nan")

# Where a measure is taken. The default has no infix.
SURFACE_TITLES = {
    "face": "exact voxel faces",
    "surfel": "marching cubes at the lattice corners, as surface-distance",
    "voxelcenter": "centers of boundary voxels, unweighted, as medpy and MONAI",
    "smooth": "smoothed surface nets, for smooth anatomy",
}
DEFAULT_SURFACE = "face"

TAHA = "Taha & Hanbury, BMC Med Imaging 2015;15:29"
REINKE = "Maier-Hein et al., Nat Methods 2024;21:195-212 (Metrics Reloaded)"
NIKOLOV = "Nikolov et al., J Med Internet Res 2021;23:e26151"
OWN = "definition of this project"
HUTTENLOCHER = "Huttenlocher et al., IEEE TPAMI 1993;15:850-863"


@dataclass(frozen=True)
class Measure:
    """What is known of a measure.

    ``name``: of the column, ``{p}`` stands for the parameter. ``unit``: "" for a plain number. ``range``: lowest and
    highest value. ``better``: "higher", "lower", "zero" (signed differences) or "" (neither). ``both_empty``,
    ``one_empty``: the value when both masks are empty, or just one of them; NaN where none exists, None where the
    formula holds as it stands. ``region``: depends on true negatives, and so on the region that they are counted in.
    ``parameter``: "", "percentile", "tolerance_mm" or "beta". ``on_request``: only computed when asked for.
    """

    name: str
    title: str
    group: str
    unit: str
    definition: str
    source: str
    range: tuple[float, float]
    better: str
    both_empty: float | None = None
    one_empty: float | None = None
    region: bool = False
    parameter: str = ""
    on_request: bool = False
    value: float | None = None  # of the parameter
    surface: str = ""

    @property
    def description(self) -> str:
        """Definition, source and, where it matters, the region, in one line."""
        region = " Depends on the region in which true negatives are counted." if self.region else ""
        return f"{self.definition}. {self.source}.{region}"

    def with_value(self, value: float, surface: str = DEFAULT_SURFACE) -> Measure:
        """This family's measure for one value of its parameter, on a surface."""
        number = f"{value:g}" if self.parameter else ""
        infix = f"_{surface}" if surface != DEFAULT_SURFACE else ""
        title = self.title.replace("{p}", number)
        if self.group == "surface":
            stem, rest = self.name.split("|")
            name = (stem + infix + rest).replace("{p}", number)
            title += f" ({SURFACE_TITLES[surface].split(',')[0]})" if infix else ""
        else:
            name, surface = self.name.replace("{p}", number), ""
        return replace(self, name=name, title=title, value=value if self.parameter else None, surface=surface)


def _counts() -> Iterable[Measure]:
    inf = float("inf")
    for name, title, meaning, region in (
        ("tp", "True positives", "voxels in both masks", False),
        ("fp", "False positives", "voxels in the test mask only", False),
        ("fn", "False negatives", "voxels in the reference mask only", False),
        ("tn", "True negatives", "voxels of the region in neither mask", True),
    ):
        yield Measure(name, title, "counts", "voxels", meaning, TAHA, (0, inf), "", region=region)


def _overlap() -> Iterable[Measure]:
    def overlap(name, title, definition, source=TAHA, low=0.0, empty=(None, None), **more):
        return Measure(name, title, "overlap", "", definition, source, (low, 1), "higher", *empty, **more)

    agree = (1.0, 0.0)
    region = {"region": True}
    yield overlap("dice", "Dice", "2 TP / (2 TP + FP + FN); equals F1", "Dice, Ecology 1945;26:297-302", empty=agree)
    yield overlap("jaccard", "Jaccard", "TP / (TP + FP + FN)", "Jaccard, New Phytol 1912;11:37-50", empty=agree)
    yield overlap("sensitivity", "Sensitivity (recall)", "TP / (TP + FN)")
    yield overlap("specificity", "Specificity", "TN / (TN + FP)", **region)
    yield overlap("precision", "Precision (positive predictive value)", "TP / (TP + FP)")
    yield overlap("npv", "Negative predictive value", "TN / (TN + FN)", **region)
    yield overlap("accuracy", "Accuracy", "(TP + TN) / N", **region)
    yield overlap("balanced_accuracy", "Balanced accuracy", "(sensitivity + specificity) / 2", REINKE, **region)
    yield overlap(
        "kappa",
        "Cohen's kappa",
        "(po - pe) / (1 - pe); po = accuracy, pe = agreement expected by chance",
        "Cohen, Educ Psychol Meas 1960;20:37-46",
        low=-1.0,
        **region,
    )
    yield overlap(
        "mcc",
        "Matthews correlation coefficient",
        "(TP TN - FP FN) / sqrt((TP + FP)(TP + FN)(TN + FP)(TN + FN))",
        "Matthews, Biochim Biophys Acta 1975;405:442-451",
        low=-1.0,
        **region,
    )
    yield overlap(
        "fbeta_{p}",
        "F-beta, beta = {p}",
        "(1 + b²) TP / ((1 + b²) TP + b² FN + FP)",
        "van Rijsbergen, Information Retrieval, 1979, chapter 7",
        empty=agree,
        parameter="beta",
        on_request=True,
    )
    yield overlap(
        "boundary_iou_{p}mm",
        "Boundary IoU within {p} mm",
        "Jaccard of the voxels of each mask that lie within d of its surface (voxel centers)",
        "Cheng et al., CVPR 2021:15334-15342",
        empty=agree,
        parameter="tolerance_mm",
        on_request=True,
    )


def _volume() -> Iterable[Measure]:
    inf = float("inf")

    def volume(name, title, unit, definition, limits, better="", *empty, source=TAHA):
        return Measure(name, title, "volume", unit, definition, source, limits, better, *empty)

    voxels = "number of voxels times the volume of a voxel"
    yield volume("volume_reference_ml", "Volume of the reference", "ml", voxels, (0, inf))
    yield volume("volume_test_ml", "Volume of the test", "ml", voxels, (0, inf))
    yield volume("volume_difference_ml", "Volume difference", "ml", "test - reference", (-inf, inf), "zero")
    relative = "100 (test - reference) / reference"
    yield volume("volume_difference_percent", "Relative volume difference", "%", relative, (-100, inf), "zero")
    similarity = "1 - |test - reference| / (test + reference)"
    yield volume("volume_similarity", "Volume similarity", "", similarity, (0, 1), "higher", 1.0, 0.0)
    centers = "distance between the centers of mass of the two masks"
    yield volume(
        "center_distance_mm", "Center-of-mass distance", "mm", centers, (0, inf), "lower", 0.0, NAN, source=OWN
    )


def _surface() -> Iterable[Measure]:
    inf = float("inf")

    def surface(name, title, definition, source=REINKE, low=0.0, better="lower", **more):
        return Measure(name, title, "surface", "mm", definition, source, (low, inf), better, 0.0, NAN, **more)

    percentile = {"parameter": "percentile"}
    yield surface("hd|_mm", "Hausdorff distance", "the largest distance from either surface to the other", HUTTENLOCHER)
    yield surface(
        "hd{p}|_maxdir_mm",
        "Hausdorff distance, {p}th percentile, larger of the two directions",
        "max over both directions of the percentile of the distances, weighted by area",
        HUTTENLOCHER,
        **percentile,
    )
    yield surface(
        "hd{p}|_pooled_mm",
        "Hausdorff distance, {p}th percentile, directions pooled",
        "percentile of the distances of both directions together, weighted by area",
        "convention of medpy",
        **percentile,
        on_request=True,
    )
    yield surface(
        "hd{p}|_meandir_mm",
        "Hausdorff distance, {p}th percentile, mean of the two directions",
        "mean over both directions of the percentile of the distances, weighted by area",
        "convention of plastimatch",
        **percentile,
        on_request=True,
    )
    yield surface(
        "assd|_mm",
        "Average symmetric surface distance",
        "mean distance over the area of both surfaces together",
        "Heimann et al., IEEE TMI 2009;28:1251-1265",
    )
    yield surface("masd|_mm", "Mean average surface distance", "mean of the two directed mean distances")
    yield surface("asd|_reference_to_test_mm", "Mean distance, reference to test", "mean over the reference's area")
    yield surface("asd|_test_to_reference_mm", "Mean distance, test to reference", "mean over the test's area")
    signed = "positive where the test reaches beyond the reference; over both surfaces together"
    yield surface("signed_mean|_mm", "Signed mean distance", f"over_mean - under_mean: {signed}", OWN, -inf, "zero")
    yield surface(
        "over_mean|_mm", "Over-segmentation, mean", "mean of max(signed distance, 0); assd = over + under", OWN
    )
    yield surface(
        "under_mean|_mm", "Under-segmentation, mean", "mean of max(-signed distance, 0); assd = over + under", OWN
    )
    yield surface(
        "hd_over|_mm", "Over-segmentation, largest", "the largest distance where the test reaches beyond", OWN
    )
    yield surface("hd_under|_mm", "Under-segmentation, largest", "the largest distance where the test falls short", OWN)
    yield Measure(
        "nsd|_{p}mm",
        "Normalized surface Dice at {p} mm",
        "surface",
        "",
        "share of the area of both surfaces that lies within the tolerance of the other surface",
        NIKOLOV,
        (0, 1),
        "higher",
        1.0,
        0.0,
        parameter="tolerance_mm",
    )


def _lesions() -> Iterable[Measure]:
    inf = float("inf")

    def lesion(name, title, unit, definition, limits, better="", *empty, source=REINKE):
        return Measure(name, title, "lesions", unit, definition, source, limits, better, *empty, on_request=True)

    yield lesion("lesions_reference", "Lesions in the reference", "lesions", "26-connected components", (0, inf))
    yield lesion("lesions_test", "Lesions in the test", "lesions", "26-connected components", (0, inf))
    rule = "pairs whose Jaccard exceeds the threshold (default: any overlap); one-to-one, largest sum of Jaccard"
    yield lesion("lesion_tp", "Lesions found", "lesions", rule, (0, inf), "higher")
    yield lesion("lesion_fp", "Lesions found wrongly", "lesions", "test lesions without a match", (0, inf), "lower")
    yield lesion("lesion_fn", "Lesions missed", "lesions", "reference lesions without a match", (0, inf), "lower")
    yield lesion("lesion_sensitivity", "Lesion-wise sensitivity", "", "TP / (TP + FN) of lesions", (0, 1), "higher")
    yield lesion("lesion_precision", "Lesion-wise precision", "", "TP / (TP + FP) of lesions", (0, 1), "higher")
    f1 = "2 TP / (2 TP + FP + FN) of lesions"
    yield lesion("lesion_f1", "Lesion-wise F1", "", f1, (0, 1), "higher", 1.0, 0.0)
    dice = "mean Dice of matched lesions"
    yield lesion("lesion_dice_matched", "Dice of matched lesions", "", dice, (0, 1), "higher")
    penalized = "sum of the Dice of matched lesions / (TP + FP + FN): a missed or false lesion counts 0"
    yield lesion("lesion_dice_all", "Dice over all lesions", "", penalized, (0, 1), "higher", 1.0, 0.0, source=OWN)


FAMILIES: tuple[Measure, ...] = (*_counts(), *_overlap(), *_volume(), *_surface(), *_lesions())
GROUPS = tuple(dict.fromkeys(family.group for family in FAMILIES))


def select(
    wanted: Sequence[str] | None = None,
    *,
    percentiles: Sequence[float] = (95,),
    tolerances_mm: Sequence[float] = (1, 2, 3),
    betas: Sequence[float] = (0.5, 2),
    surface: str = DEFAULT_SURFACE,
) -> list[Measure]:
    """The measures that are meant by names and groups; None means all but those on request.

    A group (``counts``, ``overlap``, ``volume``, ``surface``, ``lesions``) means its measures that are not on request
    only, except ``lesions``. A family may be named without its parameter: ``hd_pooled_mm`` means ``hd{p}_pooled_mm``
    for every percentile, ``nsd_mm`` the surface Dice for every tolerance. The unit may be left out, and ``hd95`` means
    ``hd95_maxdir_mm``. A name that says its surface overrules
    ``surface``, so that several conventions can stand side by side.

    Raises InputError for an unknown name, surface, percentile or tolerance.
    """
    names = tuple(wanted) if wanted is not None else None
    return list(_selected(names, tuple(percentiles), tuple(tolerances_mm), tuple(betas), surface))


@functools.lru_cache(64)
def _selected(wanted, percentiles, tolerances_mm, betas, surface: str) -> tuple[Measure, ...]:
    if surface not in SURFACE_TITLES:
        raise InputError(f"There is no surface {surface!r}; choose one of {', '.join(SURFACE_TITLES)}.")
    for parameter, given in (("percentile", percentiles), ("tolerance_mm", tolerances_mm), ("beta", betas)):
        for value in given:
            _check_value(parameter, value)
    values = {"percentile": percentiles, "tolerance_mm": tolerances_mm, "beta": betas, "": (0,)}
    chosen: dict[str, Measure] = {}
    for name in wanted if wanted is not None else GROUPS[:-1]:
        for family, value, own_surface in _meant(str(name)):
            if value is not None:
                _check_value(family.parameter, value)
            for number in [value] if value is not None else values[family.parameter]:
                measure = family.with_value(number, own_surface or surface)
                chosen[measure.name] = measure
    return tuple(chosen.values())


def _meant(name: str) -> list[tuple[Measure, float | None, str | None]]:
    """The families that a name means, each with the value of the parameter and the surface if it names them."""
    if name in GROUPS:
        return [(f, None, None) for f in FAMILIES if f.group == name and (not f.on_request or name == "lesions")]
    for family, spelling in itertools.product(FAMILIES, (name, f"{name}_mm", f"{name}_ml", f"{name}_maxdir_mm")):
        match = _pattern(family).fullmatch(spelling)
        if match:
            named = match.groupdict()
            return [(family, float(named["value"]) if named.get("value") else None, named.get("surface"))]
    known = ", ".join(family.name.replace("|", "").replace("{p}", "<n>") for family in FAMILIES)
    raise InputError(f"There is no measure {name!r}. Groups: {', '.join(GROUPS)}. Measures: {known}.")


@functools.cache
def _pattern(family: Measure) -> re.Pattern:
    """What a name of this family looks like, with or without its parameter."""
    surfaces = "|".join(surface for surface in SURFACE_TITLES if surface != DEFAULT_SURFACE)
    number = r"(?P<value>\d+(?:\.\d+)?)"
    pattern = family.name.replace("|", f"(?:_(?P<surface>{surfaces}))?")
    pattern = f"{pattern[:-4]}(?:_{number})?" if pattern.endswith("_{p}") else pattern.replace("{p}", f"{number}?")
    return re.compile(pattern)


def _check_value(parameter: str, value: float):
    if parameter == "percentile" and not 0 < value <= 100:
        raise InputError(f"A percentile must be above 0 and at most 100, but it is {value}.")
    if parameter == "tolerance_mm" and not 0 <= value < float("inf"):
        raise InputError(f"A tolerance must be a number of millimeters of at least 0, but it is {value}.")
    if parameter == "beta" and not 0 < value < float("inf"):
        raise InputError(f"Beta must be a positive number, but it is {value}.")
