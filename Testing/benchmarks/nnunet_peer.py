"""nnU-Net's own predictor on a folder, run by segment_folder.py with an interpreter that has nnunetv2.

python nnunet_peer.py IMAGES MODEL_FOLDER OUTPUT
"""

import os
import sys
from pathlib import Path

for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
    os.environ.setdefault(variable, "/nonexistent")  # nnU-Net complains at import without them

import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor


def main() -> int:
    source, model, target = (Path(argument) for argument in sys.argv[1:4])
    target.mkdir(parents=True, exist_ok=True)
    predictor = nnUNetPredictor(
        use_mirroring=False, device=torch.device("cpu"), perform_everything_on_device=True, allow_tqdm=False
    )
    folds = tuple(int(folder.name[5:]) for folder in sorted(model.glob("fold_*")))
    predictor.initialize_from_trained_model_folder(str(model), use_folds=folds, checkpoint_name="checkpoint_final.pth")
    images = [[str(path)] for path in sorted(source.glob("*_0000.nii.gz"))]
    outputs = [str(target / Path(paths[0]).name.replace("_0000.nii.gz", "")) for paths in images]
    predictor.predict_from_files_sequential(images, outputs, save_probabilities=False, overwrite=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
