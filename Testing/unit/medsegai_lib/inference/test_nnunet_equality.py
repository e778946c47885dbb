"""Our predictor gives the labels that nnU-Net's own gave (stored by Testing/oracle/compare_with_nnunet.py)."""

from pathlib import Path

import numpy as np
import pytest

from MedSegAICore.files import read_image
from MedSegAICore.image import stack_channels
from MedSegAILib.inference.prediction import Predictor
from MedSegAILib.models.ensemble import open_nnunet

REFERENCES = Path(__file__).resolve().parents[3] / "oracle" / "references"
KINDS = sorted(folder.name for folder in REFERENCES.iterdir() if folder.is_dir())


def test_every_kind_has_a_reference():
    single = {"plain", "residual", "2d", "anisotropic", "regions", "ct", "old_plans", "two_folds", "batch_norm"}
    assert single | {"residual_decoder", "cascade", "cascade_regions", "ensemble", "ensemble_regions"} <= set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_equal_nnunets_on_999_of_1000_voxels(kind):
    folder = REFERENCES / kind
    reference = np.load(folder / "nnunet.npz")
    image = stack_channels([read_image(path) for path in sorted((folder / "images").glob("*.nii.gz"))])
    predictor = Predictor(open_nnunet(folder / "model"), "cpu", quality="best", mirroring=bool(reference["mirroring"]))
    labels = predictor.segment(image).label_map.array
    assert len(np.unique(reference["labels"])) == 4  # a reference of one label would prove nothing
    assert (labels == reference["labels"]).mean() >= 0.999
