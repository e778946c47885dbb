"""The registry of what is said of several observers: name, unit, definition, source; and the value that each one takes.

``measures.py`` is the registry of what compares one segment with another. Here a measure speaks of a group of
observers: of their masks of one case, or of their values (volumes, say) over many cases.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from MedSegAICore.errors import InputError

KOUWENHOVEN = "Kouwenhoven et al., Phys Med Biol 2009;54:2863-2873"
MCGRAW = "McGraw & Wong, Psychol Methods 1996;1:30-46"
CHRISTENSEN = "Christensen et al., BMC Med Res Methodol 2020;20:304"
BLAND_ALTMAN = "Bland & Altman, Stat Methods Med Res 1999;8:135-160"
RAUNIG = "Raunig et al., Stat Methods Med Res 2015;24:27-67"
SAME = "of the values"  # the unit of a statistic of values is theirs
ONE_CASE = "one case says nothing about the spread over cases, so there is no interval"
OWN = "definition of this project"


@dataclass(frozen=True)
class ObserverMeasure:
    """What is known of a measure of several observers.

    ``group``: ``overlap``, ``agreement`` (of voxels, corrected for chance), ``volume`` and ``extent`` speak of the
    masks of one case; ``reliability`` and ``limits`` of a table of values, cases x observers. ``unit``: "" for a plain
    number. ``better``: "higher", "lower", "zero" or "". ``region``: depends on the region in which voxels are counted.
    """

    name: str
    title: str
    group: str
    unit: str
    definition: str
    source: str
    range: tuple[float, float]
    better: str = ""
    region: bool = False

    @property
    def description(self) -> str:
        """Definition, source and, where it matters, the region, in one line."""
        region = " Depends on the region in which voxels are counted." if self.region else ""
        return f"{self.definition}. {self.source}.{region}"


@dataclass(frozen=True)
class ObserverValue:
    """The value of a measure, with what it rests on.

    ``low``, ``high``: of the confidence interval; NaN where there is none. ``n``: subjects (cases, or voxels for
    measures of the group ``agreement``) that were used. ``k``: observers, or repeats. ``left_out``: subjects that could
    not be used because a value is missing. ``reason``: why the value or the interval does not exist (NaN), or holds by
    convention; "" otherwise.
    """

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan
    n: int = 0
    k: int = 0
    left_out: int = 0
    reason: str = ""

    @property
    def measure(self) -> ObserverMeasure:
        """What the registry knows of it."""
        return observer_measure(self.name)


def undefined(name: str, reason: str, n: int = 0, k: int = 0, left_out: int = 0) -> ObserverValue:
    """A value that does not exist."""
    return ObserverValue(name, math.nan, n=n, k=k, left_out=left_out, reason=reason)


def observer_measure(name: str) -> ObserverMeasure:
    """The measure of this name. Raises InputError if there is none."""
    try:
        return _BY_NAME[name]
    except KeyError:
        raise InputError(f"There is no observer measure {name!r}. There are: {', '.join(_BY_NAME)}.") from None


def _overlap():
    def overlap(name, title, definition, source=KOUWENHOVEN):
        return ObserverMeasure(name, title, "overlap", "", definition, source, (0, 1), "higher")

    yield overlap(
        "ci_gen",
        "Generalized conformity index",
        "sum over all pairs of observers of the common volume / the same sum of the encompassing volume",
    )
    yield overlap("ci_pairs", "Conformity index, mean of pairs", "mean Jaccard of all pairs that have one")
    yield overlap(
        "ci_all",
        "Conformity level (common / encompassing)",
        "volume inside all masks / volume inside any mask; falls with the number of observers, so only compare it "
        "between groups of equal size",
    )
    yield overlap(
        "ci_gen_common_planes",
        "Generalized conformity index of common planes",
        "ci_gen of those planes (across the axis of the grid nearest to superior) in which every observer drew; far "
        "above ci_gen where the observers disagree about where the structure begins and ends",
        OWN,
    )
    yield overlap(
        "dice_pairs", "Dice, mean of pairs", "mean Dice of all pairs that have one", "Dice, Ecology 1945;26:297-302"
    )


def _agreement():
    def agreement(name, title, definition, source, low=-1.0, unit="", high=1.0, better="higher"):
        return ObserverMeasure(name, title, "agreement", unit, definition, source, (low, high), better, region=True)

    fleiss = "Fleiss, Psychol Bull 1971;76:378-382"
    yield agreement(
        "percent_agreement",
        "Percent agreement",
        "100 po; po = share of the pairs of observers that agree, mean over voxels",
        fleiss,
        0.0,
        "%",
        100.0,
    )
    yield agreement("prevalence", "Prevalence", "share of foreground among all observers' votes", OWN, 0.0, better="")
    yield agreement(
        "cohen_kappa",
        "Cohen's kappa",
        "(po - pe) / (1 - pe) of two observers; pe from the shares of each of them",
        "Cohen, Educ Psychol Meas 1960;20:37-46",
    )
    yield agreement(
        "light_kappa",
        "Light's kappa",
        "mean of Cohen's kappa over all pairs of observers",
        "Light, Psychol Bull 1971;76:365-377",
    )
    yield agreement(
        "fleiss_kappa", "Fleiss' kappa", "(po - pe) / (1 - pe); pe = sum of the squared shares of the classes", fleiss
    )
    yield agreement(
        "krippendorff_alpha",
        "Krippendorff's alpha (nominal)",
        "1 - observed / expected disagreement, from coincidences; units with one rating are left out",
        "Krippendorff, Content Analysis, 3rd ed. 2013, chapter 12",
    )
    yield agreement(
        "gwet_ac1",
        "Gwet's AC1",
        "(po - pe) / (1 - pe); pe = sum of share (1 - share) over the classes / (number of classes - 1)",
        "Gwet, Br J Math Stat Psychol 2008;61:29-48",
    )


def _volume():
    inf = math.inf

    def volume(name, title, unit, definition, better="lower", low=0.0, source=OWN):
        return ObserverMeasure(name, title, "volume", unit, definition, source, (low, inf), better)

    common_use = "as in World J Gastrointest Oncol 2022;14:1027-1036, Table 1"
    yield volume("volume_mean_ml", "Mean volume", "ml", "mean over the observers", "")
    yield volume("volume_sd_ml", "Standard deviation of volumes", "ml", "over the observers, with k - 1")
    cv = "100 SD / mean of the observers' volumes"
    yield volume("volume_cv_percent", "Coefficient of variation of volumes", "%", cv, source=common_use)
    yield volume("volume_ratio", "Largest / smallest volume", "", "of the observers", low=1.0, source=common_use)
    yield volume("common_ml", "Common volume", "ml", "volume inside all masks", "", source=KOUWENHOVEN)
    yield volume("encompassing_ml", "Encompassing volume", "ml", "volume inside any mask", "", source=KOUWENHOVEN)


def _extent():
    inf = math.inf
    for end, title in (("superior", "Superior"), ("inferior", "Inferior")):
        where = f"the {end} end of the outermost voxels of a mask, S of the world in mm"
        for suffix, name, definition, low, better in (
            ("mean", "mean", f"{where}; mean over the observers", -inf, ""),
            ("sd", "standard deviation", f"{where}; SD over the observers, with k - 1", 0.0, "lower"),
            ("range", "range", f"{where}; largest - smallest over the observers", 0.0, "lower"),
        ):
            yield ObserverMeasure(
                f"{end}_limit_{suffix}_mm",
                f"{title} limit, {name}",
                "extent",
                "mm",
                definition,
                OWN,
                (low, inf),
                better,
            )
    length = "superior - inferior limit of a mask"
    mean = f"{length}; mean over the observers"
    yield ObserverMeasure("length_mean_mm", "Craniocaudal length, mean", "extent", "mm", mean, OWN, (0, inf))
    sd = f"{length}; SD over the observers, with k - 1"
    yield ObserverMeasure(
        "length_sd_mm", "Craniocaudal length, standard deviation", "extent", "mm", sd, OWN, (0, inf), "lower"
    )


def _reliability():
    def icc(name, form, kind, of, formula):
        definition = f"{formula}: {kind} of {of}; two-way ANOVA of n cases x k observers"
        return ObserverMeasure(
            name, f"ICC({form}), {kind}", "reliability", "", definition, MCGRAW, (-math.inf, 1), "higher"
        )

    absolute, consistency = "absolute agreement", "consistency"
    one, mean = "one observer", "the mean of the k observers"
    yield icc("icc_a1", "A,1", absolute, one, "(MSR - MSE) / (MSR + (k - 1) MSE + k (MSC - MSE) / n)")
    yield icc("icc_ak", "A,k", absolute, mean, "(MSR - MSE) / (MSR + (MSC - MSE) / n)")
    yield icc("icc_c1", "C,1", consistency, one, "(MSR - MSE) / (MSR + (k - 1) MSE)")
    yield icc("icc_ck", "C,k", consistency, mean, "(MSR - MSE) / MSR")


def _limits():
    inf = math.inf

    def limit(name, title, definition, source, low=0.0, better="lower", unit=SAME):
        return ObserverMeasure(name, title, "limits", unit, definition, source, (low, inf), better)

    difference = "second - first of two observers"
    yield limit("bias", "Bias", f"mean of {difference}", BLAND_ALTMAN, -inf, "zero")
    yield limit(
        "limit_low", "Lower limit of agreement", f"bias - z SD of {difference}; z = 1.96", BLAND_ALTMAN, -inf, ""
    )
    yield limit(
        "limit_high", "Upper limit of agreement", f"bias + z SD of {difference}; z = 1.96", BLAND_ALTMAN, -inf, ""
    )
    yield limit(
        "observer_bias",
        "Bias of an observer",
        "mean over the cases of the observer's value - the mean of all k observers, himself among them",
        CHRISTENSEN,
        -inf,
        "zero",
    )
    yield limit(
        "loam",
        "Limits of agreement with the mean",
        "how far one observer's value lies from the mean of all k, in 95 of 100: 1.96 sqrt((k - 1) / k (sO² + sE²)); "
        "sO² = (MSC - MSE) / n, sE² = MSE of the two-way ANOVA",
        f"Jones et al., Int J Epidemiol 2011;40:1308-1313; {CHRISTENSEN}",
    )
    yield limit(
        "mean_absolute_difference",
        "Mean absolute difference",
        "of the values of two observers of a case: mean over the pairs of a case, then over cases",
        "Harrell, Biostatistics for Biomedical Research, chapter on observer variability (hbiostat.org/bbr/obsvar)",
    )
    yield limit("sd_observers", "SD between observers", "sqrt((MSC - MSE) / n); 0 if that is negative", CHRISTENSEN)
    yield limit("sd_residual", "SD, residual", "sqrt(MSE)", CHRISTENSEN)
    yield limit(
        "sem", "Standard error of measurement", "sqrt(sO² + sE²): SD of one observer's values of one case", CHRISTENSEN
    )
    yield limit(
        "reproducibility_coefficient",
        "Reproducibility coefficient",
        "1.96 sqrt(2) SEM: two observers' values of one case differ by less in 95 of 100",
        RAUNIG,
    )
    yield limit(
        "within_subject_sd",
        "Within-subject standard deviation",
        "sqrt of the variance of repeats, pooled over the cases by degrees of freedom",
        RAUNIG,
    )
    yield limit(
        "repeatability_coefficient",
        "Repeatability coefficient",
        "1.96 sqrt(2) wSD = 2.77 wSD: two repeats of one case differ by less in 95 of 100",
        RAUNIG,
    )
    yield limit(
        "within_subject_cv_percent",
        "Within-subject coefficient of variation",
        "100 sqrt of the mean over the cases of (variance / squared mean of the repeats)",
        RAUNIG,
        unit="%",
    )


OBSERVER_MEASURES: tuple[ObserverMeasure, ...] = (
    *_overlap(),
    *_agreement(),
    *_volume(),
    *_extent(),
    *_reliability(),
    *_limits(),
)
OBSERVER_GROUPS = tuple(dict.fromkeys(measure.group for measure in OBSERVER_MEASURES))
_BY_NAME = {measure.name: measure for measure in OBSERVER_MEASURES}
