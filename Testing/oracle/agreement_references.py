"""Independent numbers of several observers' agreement, for Testing/unit/metrics_lib/test_observer_oracles.py.

Of the 24 lung nodules that four radiologists outlined (``lidc_observers`` of the development data) and of made-up
cases that need no data. Every number comes from a published package, or from the definition applied to the voxels
themselves, one by one; nothing of MedSegAI is imported. To write them again, in an environment of their own:

    python -m venv oracle && oracle/bin/pip install SimpleITK==2.5.7 krippendorff==0.9.0 statsmodels==0.15.0 \
        pingouin==0.7.0
    oracle/bin/pip install --no-deps irrCAC==0.4.4 surface-distance==0.1
    oracle/bin/python Testing/oracle/agreement_references.py DATA/lidc_observers
"""

import itertools
import json
import math
import sys
from pathlib import Path

import krippendorff
import numpy as np
import pandas as pd
import pingouin
import SimpleITK as sitk
import surface_distance
from irrCAC.raw import CAC
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.inter_rater import aggregate_raters, cohens_kappa, fleiss_kappa
from statsmodels.stats.weightstats import DescrStatsW

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from fixtures_observers import GRADES, SPACING_KJI, synthetic_cases

MARGIN_MM = 10.0
pingouin.options["round.column.CI95"] = None  # in full precision


def region_of(masks, spacing):
    """The voxels (observers, voxels) of the box around all masks, grown by the margin and clipped to the image."""
    filled = np.argwhere(np.any(masks, axis=0))
    grow = np.ceil(MARGIN_MM / np.array(spacing) - 1e-9).astype(int)
    low = np.maximum(filled.min(0) - grow, 0)
    high = np.minimum(filled.max(0) + 1 + grow, masks[0].shape)
    return np.array([mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))].ravel() for mask in masks])


def agreement(masks, spacing):
    """Of one case."""
    votes = region_of(masks, spacing).astype(int)
    table = aggregate_raters(votes.T, n_cat=2)[0]
    pairs = list(itertools.combinations(range(len(masks)), 2))
    crosses = [
        np.array([[np.sum((votes[a] == x) & (votes[b] == y)) for y in (0, 1)] for x in (0, 1)]) for a, b in pairs
    ]
    kappas = [cohens_kappa(cross, return_results=False) for cross in crosses if cross[1].sum() + cross[:, 1].sum()]
    both = [np.sum(masks[a] & masks[b]) for a, b in pairs]
    either = [np.sum(masks[a] | masks[b]) for a, b in pairs]
    total = [masks[a].sum() + masks[b].sum() for a, b in pairs]
    volumes = np.array([mask.sum() for mask in masks]) * np.prod(spacing) / 1000
    return {
        "ci_gen": sum(both) / sum(either),
        "ci_pairs": np.mean([x / y for x, y in zip(both, either, strict=True) if y]),
        "ci_all": np.all(masks, axis=0).sum() / np.any(masks, axis=0).sum(),
        "dice_pairs": np.mean([2 * x / y for x, y in zip(both, total, strict=True) if y]),
        "percent_agreement": 100 * np.mean([np.mean(votes[a] == votes[b]) for a, b in pairs]),
        "prevalence": votes.mean(),
        "fleiss_kappa": fleiss_kappa(table, method="fleiss"),
        "krippendorff_alpha": krippendorff.alpha(value_counts=table, level_of_measurement="nominal"),
        "gwet_ac1": CAC(pd.DataFrame(votes.T), digits=15).gwet()["est"]["coefficient_value"],
        "light_kappa": np.mean(kappas),
        "cohen_kappas": kappas,
        "volumes_ml": volumes,
        "volume_mean_ml": volumes.mean(),
        "volume_sd_ml": volumes.std(ddof=1),
        "volume_cv_percent": 100 * stats.variation(volumes, ddof=1),
        "common_ml": np.all(masks, axis=0).sum() * np.prod(spacing) / 1000,
        "encompassing_ml": np.any(masks, axis=0).sum() * np.prod(spacing) / 1000,
    }


def pooled(cases, spacings):
    """Alpha and Fleiss' kappa over the voxels of all cases together."""
    regions = [region_of(masks, spacing).astype(int) for masks, spacing in zip(cases, spacings, strict=True)]
    table = np.concatenate([aggregate_raters(votes.T, n_cat=2)[0] for votes in regions])
    return {
        "fleiss_kappa": fleiss_kappa(table, method="fleiss"),
        "krippendorff_alpha": krippendorff.alpha(value_counts=table, level_of_measurement="nominal"),
    }


def grades():
    """Of ratings with missing values."""
    numbers = np.array([[math.nan if grade is None else grade for grade in row] for row in GRADES])
    whole = numbers[~np.isnan(numbers).any(1)].astype(int)
    gwet = CAC(pd.DataFrame(numbers), categories=[1.0, 2.0, 3.0, 4.0], digits=15).gwet()["est"]
    pairs = itertools.combinations(whole.T - 1, 2)
    return {
        "krippendorff_alpha": krippendorff.alpha(reliability_data=numbers.T, level_of_measurement="nominal"),
        "gwet_ac1": gwet["coefficient_value"],
        "percent_agreement": 100 * gwet["pa"],
        "fleiss_kappa_of_complete": fleiss_kappa(aggregate_raters(whole)[0], method="fleiss"),
        "light_kappa_of_complete": np.mean(
            [
                cohens_kappa(
                    np.array([[np.sum((a == x) & (b == y)) for y in range(3)] for x in range(3)]), return_results=False
                )
                for a, b in pairs
            ]
        ),
    }


def reliability(table):
    """Of values, cases x observers."""
    n, k = table.shape
    case, observer = np.indices(table.shape)
    long = pd.DataFrame({"case": case.ravel(), "observer": observer.ravel(), "value": table.ravel()})
    icc = pingouin.intraclass_corr(long, "case", "observer", "value").set_index("Type")
    anova = anova_lm(ols("value ~ C(case) + C(observer)", long).fit())["mean_sq"]
    error, between = anova["Residual"], (anova["C(observer)"] - anova["Residual"]) / n
    within = ols("value ~ C(case)", long).fit().mse_resid
    freedom = n * (k - 1)
    z = stats.norm.ppf(0.975)
    deviations = table - table.mean(1, keepdims=True)
    found = {
        name: [icc.loc[kind, "ICC"], *icc.loc[kind, "CI95"]]
        for name, kind in (
            ("icc_a1", "ICC(A,1)"),
            ("icc_ak", "ICC(A,k)"),
            ("icc_c1", "ICC(C,1)"),
            ("icc_ck", "ICC(C,k)"),
        )
    }
    found |= {
        "loam": [z * np.sqrt((deviations**2).mean())],  # the definition of Jones et al. 2011
        "sd_observers": [np.sqrt(max(between, 0))],
        "sd_residual": [np.sqrt(error)],
        "sem": [np.sqrt(between + error)],
        "reproducibility_coefficient": [z * np.sqrt(2) * np.sqrt(between + error)],
        "within_subject_sd": [
            np.sqrt(within),
            *(np.sqrt(freedom * within / stats.chi2.ppf(level, freedom)) for level in (0.975, 0.025)),
        ],
        "repeatability_coefficient": [z * np.sqrt(2 * within)],
        "observer_biases": [
            [m, *DescrStatsW(d).tconfint_mean()] for m, d in zip(deviations.mean(0), deviations.T, strict=True)
        ],
    }
    if (table.mean(1) > 0).all():  # not for logarithms
        found["within_subject_cv_percent"] = [100 * np.sqrt(np.mean(stats.variation(table, axis=1, ddof=1) ** 2))]
    difference = DescrStatsW(table[:, 1] - table[:, 0], ddof=1)
    sd = np.std(table[:, 1] - table[:, 0], ddof=1)
    half = stats.t.ppf(0.975, n - 1) * sd * np.sqrt(1 / n + z**2 / (2 * (n - 1)))
    low, high = difference.mean - z * sd, difference.mean + z * sd
    found["bias"] = [difference.mean, *DescrStatsW(table[:, 1] - table[:, 0]).tconfint_mean()]
    found["limit_low"], found["limit_high"] = [low, low - half, low + half], [high, high - half, high + half]
    return found


def surfaces(masks, spacing):
    """Of each pair of observers."""
    found = []
    for first, second in itertools.combinations(masks, 2):
        distances = surface_distance.compute_surface_distances(first, second, spacing)
        there, back = surface_distance.compute_average_surface_distance(distances)
        found.append(
            {
                "hd95_surfel_maxdir_mm": surface_distance.compute_robust_hausdorff(distances, 95),
                "asd_surfel_reference_to_test_mm": there,
                "asd_surfel_test_to_reference_mm": back,
                "nsd_surfel_1mm": surface_distance.compute_surface_dice_at_tolerance(distances, 1),
                "nsd_surfel_3mm": surface_distance.compute_surface_dice_at_tolerance(distances, 3),
                "dice": surface_distance.compute_dice_coefficient(first, second),
            }
        )
    return found


def craniocaudal(image):
    """Inferior and superior end: S of all corners of all voxels, one by one."""
    ends = []
    for index in np.argwhere(sitk.GetArrayFromImage(image))[:, ::-1]:
        for corner in itertools.product((-0.5, 0.5), repeat=3):
            ends.append(
                image.TransformContinuousIndexToPhysicalPoint(
                    [float(i + c) for i, c in zip(index, corner, strict=True)]
                )[2]
            )
    return [min(ends), max(ends)]


def lidc(folder):
    """Of the nodules."""
    cases, spacings, found = [], [], {}
    for nodule in sorted(folder.glob("nodule_*")):
        images = [sitk.ReadImage(str(nodule / f"observer_{number}.nrrd")) for number in range(1, 5)]
        masks = [sitk.GetArrayFromImage(image) > 0 for image in images]
        spacing = images[0].GetSpacing()[::-1]
        found[nodule.name] = agreement(masks, spacing)
        found[nodule.name]["craniocaudal_mm"] = [craniocaudal(image) for image in images]
        found[nodule.name]["pairs"] = surfaces(masks, spacing)
        cases.append(masks)
        spacings.append(spacing)
    volumes = np.array([found[name]["volumes_ml"] for name in found])
    return {
        "cases": found,
        "pooled": pooled(cases, spacings),
        "volumes": reliability(volumes),
        "log_volumes": reliability(np.log(volumes)),
    }


def synthetic():
    """Of the made-up cases."""
    cases = synthetic_cases()
    found = {f"case_{number}": agreement(masks, SPACING_KJI) for number, masks in enumerate(cases, 1)}
    volumes = np.array([own["volumes_ml"] for own in found.values()])
    return {
        "cases": found,
        "pooled": pooled(cases, [SPACING_KJI] * len(cases)),
        "volumes": reliability(volumes[:3]),
        "grades": grades(),
    }


def plain(value):
    """As JSON knows it."""
    if isinstance(value, dict):
        return {key: plain(own) for key, own in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(own) for own in value]
    return float(value)


def write(path, found):
    """As JSON with numbers in full precision."""
    path.write_text(json.dumps(plain(found), indent=1) + "\n", encoding="utf-8")
    print(path)


if __name__ == "__main__":
    write(HERE / "references" / "observers_synthetic.json", synthetic())
    if len(sys.argv) > 1:
        write(HERE / "references" / "lidc_observers.json", lidc(Path(sys.argv[1])))
