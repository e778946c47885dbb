"""Our predictor beside nnU-Net's own, on the same model folders and volumes: the labels must be equal.

    python compare_with_nnunet.py --data DATA [--kinds plain residual …] [--write-references FOLDER]
    python compare_with_nnunet.py --model FOLDER --image FILE

Needs an interpreter with nnunetv2 (README.md). The folders of the first form have random weights, made by nnU-Net's own
network classes; DATA is a folder with ``organs/example_ct_sm.nii.gz`` and ``hippocampus/images``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
    os.environ.setdefault(variable, tempfile.gettempdir())  # nnU-Net complains at import without them
for folder in ("MedSegAI", "MedSegAIMetrics"):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / folder))

import numpy as np
import SimpleITK as sitk
import torch
from nnunetv2.ensembling.ensemble import merge_files
from nnunetv2.inference import predict_from_raw_data
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.postprocessing.remove_connected_components import remove_all_but_largest_component_from_segmentation
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.nnUNetTrainer.variants.network_architecture.nnUNetTrainerBN import nnUNetTrainerBN
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from oracle_models import ensemble_members, make_images, make_kinds, make_model, part_folders

from MedSegAICore.files import read_image
from MedSegAICore.image import stack_channels
from MedSegAILib.inference.prediction import Predictor
from MedSegAILib.models.ensemble import open_nnunet

REQUIRED_AGREEMENT = 0.999
# nnU-Net looks for a trainer in all of its modules, one of which needs timm and with it another torch.
TRAINERS = {trainer.__name__: trainer for trainer in (nnUNetTrainer, nnUNetTrainerBN)}
predict_from_raw_data.recursive_find_trainer_class_by_name = TRAINERS.get


def predict_with_nnunet(
    model: Path, images: list[Path], mirroring: bool, output: Path, earlier: Path | None = None, probabilities=False
) -> np.ndarray:
    """Labels of one trained-model folder, written to ``output``; ``earlier`` holds those of the stage before."""
    predictor = nnUNetPredictor(use_mirroring=mirroring, device=torch.device("cpu"), allow_tqdm=False)
    folds = tuple(folder.name[5:] for folder in sorted(model.glob("fold_*")))
    predictor.initialize_from_trained_model_folder(str(model), use_folds=folds, checkpoint_name="checkpoint_final.pth")
    output.mkdir()
    predictor.predict_from_files_sequential(
        [[str(i) for i in images]], [str(output / "case")], save_probabilities=probabilities,
        folder_with_segs_from_prev_stage=str(earlier) if earlier else None,
    )  # fmt: skip
    return sitk.GetArrayFromImage(sitk.ReadImage(str(output / "case.nii.gz")))


def predict_parts_with_nnunet(model: Path, images: list[Path], mirroring: bool, kind: dict) -> np.ndarray:
    """Stage after stage, then the mean of the members' probabilities, as nnUNetv2_ensemble makes it, and its end."""
    members = ensemble_members(kind)
    with tempfile.TemporaryDirectory() as temporary:
        outputs = {}
        for part, folder in zip(kind["parts"], part_folders(model, kind), strict=True):
            outputs[folder.name] = output = Path(temporary) / folder.name
            earlier = (
                output.with_name(f"nnUNetTrainer__nnUNetPlans__{part['previous']}") if "previous" in part else None
            )
            labels = predict_with_nnunet(folder, images, mirroring, output, earlier, probabilities=bool(members))
        if not members:
            return labels
        plans, dataset = (json.loads((folder / file).read_text()) for file in ("plans.json", "dataset.json"))
        plans = PlansManager(plans)
        files = [str(list(outputs.values())[n] / "case.npz") for n in members]
        target = f"{temporary}/mean"
        merge_files(files, target, ".nii.gz", plans.image_reader_writer_class(), plans.get_label_manager(dataset))
        labels = sitk.GetArrayFromImage(sitk.ReadImage(f"{target}.nii.gz"))
        for group in kind.get("keep_largest", []):
            labels = remove_all_but_largest_component_from_segmentation(labels, group)
        return labels


def compare(model: Path, images: list[Path], kind: dict) -> tuple[np.ndarray, np.ndarray]:
    """Labels of nnU-Net and ours. ``load_state_dict`` is strict in both programs, so the weights fit both ways."""
    mirroring = kind.get("mirroring", False)
    if "parts" in kind:
        theirs = predict_parts_with_nnunet(model, images, mirroring, kind)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            theirs = predict_with_nnunet(model, images, mirroring, Path(temporary) / "output")
    predictor = Predictor(open_nnunet(model), "cpu", quality="best", mirroring=mirroring)
    return theirs, predictor.segment(stack_channels([read_image(image) for image in images])).label_map.array


def report(name: str, theirs: np.ndarray, ours: np.ndarray) -> bool:
    agreement = float((theirs == ours).mean())
    shares = " ".join(f"{(theirs == value).mean():.2f}" for value in range(int(theirs.max()) + 1))
    print(f"{name:<22}{theirs.size:>9}{agreement:>12.6f}   {shares}", flush=True)
    return agreement >= REQUIRED_AGREEMENT


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--kinds", nargs="+", choices=list(make_kinds()), default=list(make_kinds()))
    parser.add_argument("--write-references", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--image", type=Path, nargs="+")
    arguments = parser.parse_args()
    print(f"{'model':<22}{'voxels':>9}{'agreement':>12}   shares of the labels")
    if arguments.model:
        return 0 if report(arguments.model.name, *compare(arguments.model, arguments.image, {})) else 1
    good = True
    with tempfile.TemporaryDirectory() as temporary:
        for name in arguments.kinds:
            kind, folder = make_kinds()[name], Path(temporary) / name
            folder.mkdir()
            model, images = make_model(folder / "model", kind), make_images(arguments.data, kind, folder / "images")
            theirs, ours = compare(model, images, kind)
            good &= report(name, theirs, ours)
            if arguments.write_references:
                target = arguments.write_references / name
                shutil.rmtree(target, ignore_errors=True)
                shutil.copytree(folder, target)
                np.savez_compressed(target / "nnunet.npz", labels=theirs, mirroring=kind.get("mirroring", False))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
