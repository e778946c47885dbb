"""Registration finds known motions: of a drawn head in two contrasts, and of real thick-sliced MR of a patient."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from fixtures_registration import errors_mm, head, motion
from fixtures_scene import make_grid, rotation
from MedSegAICore import registration as module
from MedSegAICore.dicom import find_series, read_series
from MedSegAICore.errors import Cancelled, InputError
from MedSegAICore.grid import LPS_FROM_RAS, Grid
from MedSegAICore.image import Image
from MedSegAICore.registration import register, write_transform

THICK = make_grid((24, 80, 66), rotation(8, -4, 3) @ np.diag([-1, -1, 1]), (2.6, 2.6, 6.5), (84, 100, -75))
CORONAL = make_grid((76, 64, 70), [[-1, 0, 0], [0, 0, 1], [0, -1, 0]], (2.4, 2.8, 2.7), (83, -100, 85))
MOTION = motion((4, -3, 6), (5, -7, 4))


@pytest.fixture(scope="module")
def thick():
    return head("T1", THICK)


def moved_grid(image, by):
    """The same voxels with a header that says they are somewhere else."""
    return replace(image, grid=Grid(image.grid.shape, by @ image.grid.ijk_to_ras))


@pytest.fixture(scope="module")
def found(thick):
    """The T2 was drawn after the patient moved: back to the first volume is the inverse motion."""
    return register(thick, head("T2", CORONAL, MOTION), "rigid")


def test_the_motion_of_a_patient_is_found_between_contrasts_and_orientations(found, thick):
    errors = errors_mm(found.matrix, np.linalg.inv(MOTION), thick.grid)
    # At the corners, 140 mm from the center: half a slice (6.5 mm), and on average one pixel (2.6 mm).
    assert errors.max() < 3.25
    assert errors.mean() < 2.6
    assert errors_mm(np.eye(4), np.linalg.inv(MOTION), thick.grid).min() > 5
    np.testing.assert_allclose(found.matrix[:3, :3] @ found.matrix[:3, :3].T, np.eye(3), atol=1e-6)


def test_its_quality_is_measured(found, thick):
    assert found.after > found.before + 0.1
    corners = np.c_[thick.grid.corners_ras(), np.ones(8)]
    lengths = np.linalg.norm((corners @ (np.linalg.inv(found.matrix) - np.eye(4)).T)[:, :3], axis=1)
    assert found.max_mm == pytest.approx(lengths.max())
    assert 0 < found.mean_mm < found.max_mm
    assert found.concerns == ()
    assert f"moved it by {found.mean_mm:.1f} mm" in found.describe()


def test_mutual_information_is_that_of_mattes(thick):
    """By the formulas of Mattes et al. 2003: the fixed volume in boxes, the moving one in cubic B-splines."""
    other = head("T2", THICK)
    fixed, moving = (
        image.array[0].clip(*np.percentile(image.array[0], (0.1, 99.9))).ravel() for image in (thick, other)
    )
    places = [(v - v.min()) / (v.max() - v.min()) * (32 - 4) + 2 for v in (fixed, moving)]  # two bins of padding
    rows, first = np.minimum(places[0].astype(int), 29), np.floor(places[1]).astype(int) - 1
    joint = np.zeros((32, 33))
    for step in range(4):
        distance = np.abs(first + step - places[1])
        near = (4 - 6 * distance**2 + 3 * distance**3) / 6
        weight = np.where(distance < 1, near, np.where(distance < 2, (2 - distance).clip(0) ** 3 / 6, 0))
        np.add.at(joint, (rows, first + step), weight)
    joint /= joint.sum()
    alone = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    expected = (joint[joint > 0] * np.log(joint[joint > 0] / alone[joint > 0])).sum()
    assert module._Search(thick, other, "rigid", lambda: False).information(np.eye(4)) == pytest.approx(
        expected, rel=0.01
    )


def test_the_same_volumes_give_the_same_result(thick):
    moving = moved_grid(thick, MOTION)
    one, two = (register(thick, moving, "rigid") for _ in range(2))
    assert np.array_equal(one.matrix, two.matrix)


def test_an_affine_registration_finds_a_stretch(thick):
    stretch = motion((2, -3, 4), (3, -4, 5)) @ np.diag([1.06, 0.95, 1.03, 1.0])
    moving = moved_grid(thick, stretch)
    affine, rigid = (register(thick, moving, kind) for kind in ("affine", "rigid"))
    assert errors_mm(affine.matrix @ stretch, np.eye(4), thick.grid).max() < 0.5
    assert errors_mm(rigid.matrix @ stretch, np.eye(4), thick.grid).max() > 4
    assert affine.after > rigid.after


def test_volumes_far_apart_are_found_by_their_centers_and_said_to_be_far(thick):
    far = moved_grid(thick, motion(shift=(300, -250, 400)))
    found = register(thick, far, "rigid")
    assert errors_mm(found.matrix, motion(shift=(-300, 250, -400)), thick.grid).max() < 0.5
    assert found.before is None
    assert "unusually far, by 559 mm" in found.concerns[0]


def test_a_match_that_does_not_improve_is_said_and_not_used(thick, monkeypatch):
    monkeypatch.setattr(module._Search, "best", lambda search: motion(shift=(20, 0, 0)))
    found = register(thick, thick, "rigid")
    assert np.array_equal(found.matrix, np.eye(4))
    assert "did not improve its match" in found.concerns[0]
    assert found.after == found.before


def test_padding_is_not_compared(thick):
    """A volume that was resampled before has slabs of nothing, which say nothing about where it lies."""
    array = head("T2", THICK, MOTION).array.copy()
    array[:, :7] = 0
    array[:, :, :, -12:] = 0
    found = register(thick, Image(array, THICK), "rigid")
    assert errors_mm(found.matrix, np.linalg.inv(MOTION), thick.grid).max() < 2.5


def test_bad_input_is_refused(thick):
    with pytest.raises(InputError, match="constant"):
        register(thick, Image(np.ones_like(thick.array), THICK), "rigid")
    with pytest.raises(Cancelled):
        register(thick, moved_grid(thick, MOTION), "rigid", cancelled=lambda: True)


def test_the_file_is_the_transform_that_itk_resamples_with(found, tmp_path):
    write_transform(tmp_path / "t.tfm", found.matrix)
    transform = sitk.ReadTransform(str(tmp_path / "t.tfm"))
    moving_ras = np.array([10.0, -20, 30, 1])
    fixed_ras = found.matrix @ moving_ras
    lps = transform.TransformPoint((LPS_FROM_RAS @ fixed_ras)[:3].tolist())
    assert LPS_FROM_RAS[:3, :3] @ lps == pytest.approx(moving_ras[:3])


def test_a_known_motion_of_real_thick_slices_is_undone(shared_data):
    """The study's own registration differs from ours by up to a millimeter; two motions must end at one place."""
    study = {s.description: s for s in find_series(shared_data("dicom_brain_tumour/timepoint_1"))}
    first, moving = read_series(study["T1post"]), read_series(study["FLAIR_reg"])
    small, large = motion((5, -4, 8), (6, -9, 7)), motion((-3, 10, -12), (20, 15, -25))
    ends = [register(first, moved_grid(moving, by), "rigid").matrix @ by for by in (small, large)]
    assert errors_mm(ends[0], ends[1], first.grid).max() < 1.0
    for end in ends:
        assert errors_mm(end, np.eye(4), first.grid).mean() < 1.5
