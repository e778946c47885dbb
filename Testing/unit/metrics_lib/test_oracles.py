"""Surface measures against independent programs: surface-distance, medpy, and a brute force that is written here."""

import functools
import itertools

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage
from scipy.spatial import cKDTree

from MedSegAIMetricsLib import compare
from MedSegAIMetricsLib.surface import surface_distances
from MedSegAIMetricsLib.surface.nearest import reach_mm

# surface-distance 0.1 imports from places that SciPy has given up.
pytestmark = pytest.mark.filterwarnings("ignore:Please import `:DeprecationWarning")

SEEDS = range(20)
TOLERANCES = (1, 2, 3)


def blob(generator, shape, threshold):
    """Smoothed noise above a threshold."""
    noise = ndimage.gaussian_filter(generator.standard_normal(shape), generator.uniform(1.5, 3.5, 3))
    return noise > threshold * noise.std()


@functools.cache
def random_pair(seed: int):
    """Two masks and their spacing; three in four touch the border, every fourth pair is far apart, in two corners."""
    generator = np.random.default_rng(seed)
    shape = generator.integers(20, 41, 3)
    spacing = tuple(float(s) for s in generator.uniform(0.4, 3.0, 3))
    reference = blob(generator, shape, 0.8)
    test = blob(generator, shape, 0.8) if seed % 4 else reference ^ blob(generator, shape, 1.8)
    if seed % 4 == 1:
        near, far = np.zeros((2, *shape), bool)
        near[:6, :7, :8], far[-6:, -7:, -8:] = True, True
        reference, test = (near & (generator.random(shape) < share) for near, share in ((near, 0.4), (far, 0.7)))
    if seed % 4 == 2:
        for mask in (reference, test):
            mask[[0, -1]] = mask[:, [0, -1]] = mask[:, :, [0, -1]] = False
    assert reference.any()
    assert test.any()
    return reference, test, spacing


@pytest.fixture(scope="module")
def spleen(shared_data):
    """The corrected mask, the automatic one, and the spacing; K, J, I."""
    images = [sitk.ReadImage(str(shared_data(f"spleen_ct/spleen1_label_{who}.nii.gz"))) for who in ("gt", "auto")]
    reference, test = (sitk.GetArrayFromImage(image) > 0 for image in images)
    return reference, test, images[0].GetSpacing()[::-1]


@pytest.fixture(scope="module")
def surface_distance():
    """google-deepmind/surface-distance 0.1; it uses names that NumPy 2 no longer has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, "Inf", np.inf, raising=False)
        patch.setattr(np, "NaN", np.nan, raising=False)
        yield pytest.importorskip("surface_distance")


def by_surface_distance(program, reference, test, spacing) -> dict[str, float]:
    distances = program.compute_surface_distances(reference, test, spacing)
    forth, back = program.compute_average_surface_distance(distances)
    found = {
        "hd_surfel_mm": program.compute_robust_hausdorff(distances, 100),
        "hd95_surfel_maxdir_mm": program.compute_robust_hausdorff(distances, 95),
        "hd50_surfel_maxdir_mm": program.compute_robust_hausdorff(distances, 50),
        "asd_surfel_reference_to_test_mm": forth,
        "asd_surfel_test_to_reference_mm": back,
    }
    for tolerance in TOLERANCES:
        found[f"nsd_surfel_{tolerance}mm"] = program.compute_surface_dice_at_tolerance(distances, tolerance)
    return found


def by_medpy(reference, test, spacing) -> dict[str, float]:
    binary = pytest.importorskip("medpy.metric.binary")
    return {
        "hd_voxelcenter_mm": binary.hd(test, reference, spacing),
        "hd95_voxelcenter_pooled_mm": binary.hd95(test, reference, spacing),
        "assd_voxelcenter_mm": binary.assd(test, reference, spacing),
        "asd_voxelcenter_reference_to_test_mm": binary.asd(reference, test, spacing),
        "asd_voxelcenter_test_to_reference_mm": binary.asd(test, reference, spacing),
    }


def assert_equal(reference, test, spacing, expected: dict[str, float]):
    found = compare(reference, test, spacing, measures=list(expected))[1]
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_surfel_equals_surface_distance_on_random_pairs(seed, surface_distance):
    pair = random_pair(seed)
    assert_equal(*pair, by_surface_distance(surface_distance, *pair))


@pytest.mark.parametrize("seed", SEEDS)
def test_voxelcenter_equals_medpy_on_random_pairs(seed):
    pair = random_pair(seed)
    assert_equal(*pair, by_medpy(*pair))


def cropped(reference, test, spacing):
    """With a margin of one voxel; both programs would take minutes for the whole image."""
    filled = ndimage.find_objects((reference | test).astype(np.uint8))[0]
    box = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in filled)
    return reference[box], test[box], spacing


def test_surfel_equals_surface_distance_on_the_spleen(spleen, surface_distance):
    assert_equal(*spleen, by_surface_distance(surface_distance, *cropped(*spleen)))


def test_voxelcenter_equals_medpy_on_the_spleen(spleen):
    assert_equal(*spleen, by_medpy(*cropped(*spleen)))


class BruteForce:
    """The exact voxel-face surface as points: the corners of all faces of the mask on a grid twice as fine.

    The nearest point of a grid-aligned rectangle to a point of the fine grid is a point of the fine grid again, so the
    distances between these points are those between the surfaces. Every fine face gives a quarter of its area to each
    of its corners.
    """

    def __init__(self, mask: np.ndarray, spacing):
        half = np.array(spacing) / 2
        self.fine = np.pad(mask.repeat(2, 0).repeat(2, 1).repeat(2, 2), 1)
        areas = np.zeros(np.array(self.fine.shape) + 1)  # at the corner in front of each fine voxel
        for axis in range(3):
            face_area = np.prod(half) / half[axis]
            faces = np.argwhere(np.diff(self.fine.astype(np.int8), axis=axis) != 0)
            faces[:, axis] += 1  # the face lies in front of the second of the two voxels
            steps = [(0,) if other == axis else (0, 1) for other in range(3)]
            for step in itertools.product(*steps):
                np.add.at(areas, tuple((faces + step).T), face_area / 4)
        self.index = np.argwhere(areas > 0)
        self.areas = areas[areas > 0]
        self.points = self.index * half

    def to(self, other: "BruteForce") -> tuple[np.ndarray, np.ndarray]:
        """Distances to the other surface, and whether each point lies inside the other mask."""
        distances, _ = cKDTree(other.points).query(self.points)
        return distances, other.fine[tuple(np.minimum(self.index, np.array(other.fine.shape) - 1).T)]


def percentile(distances, areas, percent) -> float:
    """The smallest distance within which this percentage of the area lies."""
    order = np.argsort(distances)
    share = np.cumsum(areas[order]) / areas.sum()
    return float(distances[order][np.argmax(share >= percent / 100 - 1e-12)])


def by_brute_force(reference, test, spacing) -> tuple[dict[str, float], list[np.ndarray]]:
    """The measures, and the distances of both directions."""
    surfaces = BruteForce(reference, spacing), BruteForce(test, spacing)
    (forth, inside_test), (back, inside_reference) = surfaces[0].to(surfaces[1]), surfaces[1].to(surfaces[0])
    distances = np.concatenate([forth, back])
    areas = np.concatenate([surfaces[0].areas, surfaces[1].areas])
    beyond = np.concatenate([inside_test, ~inside_reference])  # the test reaches beyond the reference there
    means = [np.average(d, weights=s.areas) for d, s in zip((forth, back), surfaces, strict=True)]
    directed = [percentile(d, s.areas, 95) for d, s in zip((forth, back), surfaces, strict=True)]
    found = {
        "hd_mm": distances.max(),
        "hd95_maxdir_mm": max(directed),
        "hd95_meandir_mm": sum(directed) / 2,
        "hd95_pooled_mm": percentile(distances, areas, 95),
        "assd_mm": np.average(distances, weights=areas),
        "masd_mm": sum(means) / 2,
        "asd_reference_to_test_mm": means[0],
        "asd_test_to_reference_mm": means[1],
        "over_mean_mm": (distances * areas)[beyond].sum() / areas.sum(),
        "under_mean_mm": (distances * areas)[~beyond].sum() / areas.sum(),
        "hd_over_mm": distances[beyond].max(initial=0),
        "hd_under_mm": distances[~beyond].max(initial=0),
    }
    for tolerance in TOLERANCES:
        found[f"nsd_{tolerance}mm"] = areas[distances <= tolerance + 1e-9].sum() / areas.sum()
    return found, [forth, back]


@pytest.mark.parametrize("seed", SEEDS)
def test_every_distance_of_the_face_surface_is_that_of_the_brute_force(seed):
    reference, test, spacing = random_pair(seed)
    _, exact = by_brute_force(reference, test, spacing)
    for found, expected in zip(surface_distances(reference, test, spacing, "face"), exact, strict=True):
        # Samples on the other surface are put together.
        away, expected_away = found.distances_mm[found.distances_mm > 0], expected[expected > 1e-9]
        np.testing.assert_allclose(np.sort(away), np.sort(expected_away), rtol=0, atol=1e-9)
        assert found.areas_mm2.min() >= 0


@pytest.mark.parametrize("seed", SEEDS)
def test_every_measure_of_the_face_surface_is_that_of_the_brute_force(seed):
    reference, test, spacing = random_pair(seed)
    expected, _ = by_brute_force(reference, test, spacing)
    found = compare(reference, test, spacing, measures=list(expected))[1]
    assert found == pytest.approx(expected, rel=0, abs=1e-9)


def sparse_pair(seed: int):
    """Small far blobs: much of a surface is further from the other one than a search looks."""
    generator = np.random.default_rng(seed)
    shape = generator.integers(20, 41, 3)
    spacing = tuple(float(s) for s in generator.uniform(0.4, 3.0, 3))
    reference, test = (blob(generator, shape, generator.uniform(0.8, 2.6)) for _ in range(2))
    return reference, test, spacing


# In the first three a guess from the neighbors is up to 1 mm too far; the others were not chosen.
@pytest.mark.parametrize("seed", [2537, 2665, 2759, *range(10)])
def test_measures_beyond_the_reach_of_a_search_are_those_of_the_brute_force(seed):
    reference, test, spacing = sparse_pair(seed)
    expected, _ = by_brute_force(reference, test, spacing)
    assert expected["hd_mm"] > reach_mm(spacing)
    found = compare(reference, test, spacing, measures=list(expected))[1]
    assert found == pytest.approx(expected, rel=0, abs=1e-9)


def test_random_pairs_are_near_and_far_and_at_the_border():
    reach = [reach_mm(spacing) for *_, spacing in map(random_pair, SEEDS)]
    furthest = [by_brute_force(*random_pair(seed))[0]["hd_mm"] for seed in SEEDS]
    assert sum(f > r for f, r in zip(furthest, reach, strict=True)) >= 5
    assert sum(f <= r for f, r in zip(furthest, reach, strict=True)) >= 5
    touching = [any(mask[[0, -1]].any() for mask in random_pair(seed)[:2]) for seed in SEEDS]
    assert 5 <= sum(touching) < len(SEEDS)


def test_overlap_of_the_spleen_is_what_all_programs_say(spleen):
    found = compare(*spleen, measures=["dice", "sensitivity", "precision"])[1]
    assert found["dice"] == pytest.approx(0.88689, abs=5e-6)
    assert found["sensitivity"] == pytest.approx(0.9017, abs=5e-5)
    assert found["precision"] == pytest.approx(0.8726, abs=5e-5)


# What other programs print, to the digits they were noted with.
SPLEEN = {
    "surface-distance": ("surfel", {"hd_mm": "20.8", "hd95_maxdir_mm": "9.57", "assd_mm": "1.91", "nsd_2mm": "0.702"}),
    "an independent prototype with faces cut in four": (
        "face",
        {"hd_mm": "20.8", "hd95_maxdir_mm": "9.61", "assd_mm": "2.06", "nsd_2mm": "0.667"},
    ),
    "MONAI and MetricsReloaded": (
        "voxelcenter",
        {"hd_mm": "20.9", "hd95_maxdir_mm": "9.30", "assd_mm": "1.52", "nsd_2mm": "0.771"},
    ),
    "medpy and panoptica": ("voxelcenter", {"hd_mm": "20.9", "hd95_pooled_mm": "7.90"}),
    "plastimatch": ("voxelcenter", {"hd_mm": "20.9", "hd95_meandir_mm": "8.18"}),
}


@pytest.mark.parametrize("program", SPLEEN)
def test_surface_measures_of_the_spleen_are_those_of_other_programs(program, spleen):
    surface, expected = SPLEEN[program]
    found = compare(*spleen, measures=list(expected), surface=surface)[1]
    rounded = {}
    for name, text in expected.items():
        stem, _, rest = name.partition("_")
        value = found[name if surface == "face" else f"{stem}_{surface}_{rest}"]
        rounded[name] = f"{value:.{len(text.partition('.')[2])}f}"
    assert rounded == expected
