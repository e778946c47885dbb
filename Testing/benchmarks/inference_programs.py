"""One program on one case of inference.py, in a process of its own; prints its costs as one line of JSON.

    python inference_programs.py PROGRAM MODEL_FOLDER IMAGE OUTPUT --threads N --device cpu --memory-limit BYTES

Each program runs as its own documentation says; its functions are only wrapped by a clock. A stage counts the time that
no stage inside it counts, so the stages add up to the whole: tiles is what a sliding window does beside its network.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import gc
import json
import os
import resource
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

STAGES = ("load", "preprocess", "network", "tiles", "export", "write")
CT_SCHEME = "CTNormalization"


class Clock:
    """Wall and CPU seconds by stage, and the peak of the memory of this process and of the GPU."""

    def __init__(self, device):
        self._device, self._stack = device, []
        self.wall, self.cpu = defaultdict(float), defaultdict(float)

    def start(self):
        import torch

        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # freed memory that the allocator keeps would hide what a run takes
        Path("/proc/self/clear_refs").write_text("5")
        self._held = _memory("VmRSS")
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self._held_gpu = torch.cuda.memory_allocated()

    def peak(self) -> dict[str, float]:
        import torch

        found = {"peak_mib": (_memory("VmHWM") - self._held) / 2**20, "baseline_mib": self._held / 2**20}
        if self._device.type == "cuda":
            found["gpu_mib"] = (torch.cuda.max_memory_allocated() - self._held_gpu) / 2**20
        return found

    def timed(self, stage: str, function: Callable) -> Callable:
        @functools.wraps(function)
        def run(*args, **kwargs):
            self._lap(stage)
            try:
                return function(*args, **kwargs)
            finally:
                self._lap(None)

        return run

    def wrap(self, stage: str, owner: Any, *names: str):
        for name in names:
            setattr(owner, name, self.timed(stage, getattr(owner, name)))

    def _lap(self, stage: str | None):
        """Book the time since the last lap for the stage that ran; a name begins a stage inside it, None ends it."""
        import torch

        if self._device.type == "cuda":
            torch.cuda.synchronize()
        now = (time.perf_counter(), time.process_time())
        if self._stack:
            self.wall[self._stack[-1]] += now[0] - self._last[0]
            self.cpu[self._stack[-1]] += now[1] - self._last[1]
        self._last = now
        if stage:
            self._stack.append(stage)
        else:
            self._stack.pop()


def _memory(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":")) * 1024


def run_medsegai(model: Path, image: Path, output: Path, device, clock: Clock, quality: str = "best"):
    """``best`` without mirroring does what nnU-Net does without it."""
    for folder in ("MedSegAI", "MedSegAIMetrics"):
        sys.path.insert(0, str(Path(__file__).resolve().parents[2] / folder))
    from MedSegAICore import files
    from MedSegAILib.inference import prediction
    from MedSegAILib.models.folder import ModelFolder

    predictor = prediction.Predictor(ModelFolder.open(model), str(device), quality=quality, mirroring=False)
    clock.wrap("load", files, "read_image")
    clock.wrap("preprocess", ModelFolder, "prepare")
    clock.wrap("export", prediction.Export, "add", "labels")
    clock.wrap("network", predictor.networks[0], "forward")
    clock.wrap("tiles", predictor, "segment")
    clock.wrap("write", files, "write_label_nifti")
    clock.start()
    files.write_label_nifti(output, predictor.segment(files.read_image(image)).label_map)


def run_nnunet(model: Path, image: Path, output: Path, device, clock: Clock):
    predictor = _nnunet_predictor(model, device)
    from nnunetv2.inference import export_prediction, predict_from_raw_data
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor

    reader = predictor.plans_manager.image_reader_writer_class
    clock.wrap("load", reader, "read_images")
    clock.wrap("preprocess", DefaultPreprocessor, "run_case")
    clock.wrap("network", predictor.network, "forward")
    clock.wrap("tiles", predictor, "predict_logits_from_preprocessed_data")
    clock.wrap("write", reader, "write_seg")
    # What it does between its functions (files beside the result) is none of the stages.
    export = clock.timed("export", export_prediction.export_prediction_from_logits)
    predict_from_raw_data.export_prediction_from_logits = export
    clock.start()
    target = str(output).removesuffix(".nii.gz")
    predictor.predict_from_files_sequential([[str(image)]], [target], save_probabilities=False, overwrite=True)


def run_monai(model: Path, image: Path, output: Path, device, clock: Clock):
    """The transforms of a bundle's inference: the grid of the plan, tiles, the logits back, the largest.

    The input is resampled linearly, as bundles do and as ``Invertd`` can undo, so labels differ a little.
    """
    predictor = _nnunet_predictor(model, device)
    import torch
    from monai import transforms as t
    from monai.inferers import sliding_window_inference

    configuration, network = predictor.configuration_manager, predictor.network.to(device).eval()
    network.load_state_dict(predictor.list_of_parameters[0])
    patch, spacing = configuration.patch_size[::-1], configuration.spacing[::-1]  # MONAI's axes are I, J, K
    normalize = t.NormalizeIntensityd("image")
    if configuration.normalization_schemes[0] == CT_SCHEME:
        known = predictor.plans_manager.foreground_intensity_properties_per_channel["0"]
        low, high, mean, deviation = (known[k] for k in ("percentile_00_5", "percentile_99_5", "mean", "std"))
        bounds = ((low - mean) / deviation, (high - mean) / deviation)
        normalize = t.ScaleIntensityRanged("image", low, high, *bounds, clip=True)
    load = t.Compose([t.LoadImaged("image"), t.EnsureChannelFirstd("image")])
    prepare = t.Compose([normalize, t.Spacingd("image", pixdim=spacing, mode="bilinear")])
    back = t.Compose([
        t.Invertd("pred", transform=prepare, orig_keys="image", nearest_interp=False, to_tensor=True),
        t.AsDiscreted("pred", argmax=True),
    ])  # fmt: skip
    write = t.SaveImage(
        output_dir=output.parent, output_postfix="", separate_folder=False, output_dtype="uint8", print_log=False,
    )  # fmt: skip

    def in_plan_order(batch):  # the plan's axes are K, J, I
        return clock.timed("network", network)(batch.transpose(2, 4)).transpose(2, 4)

    clock.start()
    with torch.inference_mode(), torch.autocast(device.type, enabled=device.type == "cuda"):
        item = clock.timed("preprocess", prepare)(clock.timed("load", load)({"image": str(image)}))
        item["pred"] = clock.timed("tiles", sliding_window_inference)(
            item["image"][None].to(device), patch, 1, in_plan_order, overlap=0.5, mode="gaussian", sigma_scale=0.125
        )[0]
        label = clock.timed("export", back)(item)["pred"]
        clock.timed("write", write)(label)
    (output.parent / image.name).rename(output)


def run_floor(model: Path, image: Path, output: Path, device, clock: Clock):
    """The network alone, on every tile that nnU-Net would send; nothing is kept."""
    for folder in ("MedSegAI", "MedSegAIMetrics"):
        sys.path.insert(0, str(Path(__file__).resolve().parents[2] / folder))
    from itertools import product

    import torch

    from MedSegAICore.files import read_image
    from MedSegAILib.inference.preprocessing import preprocess
    from MedSegAILib.inference.tiling import tile_starts
    from MedSegAILib.models.folder import ModelFolder

    opened = ModelFolder.open(model)
    network, patch = opened.load_networks(device)[0][0], opened.configuration.patch_size
    array = preprocess(read_image(image), opened.configuration)[0].to(device)
    missing = [max(0, p - n) for p, n in zip(patch, array.shape[1:], strict=True)]
    array = torch.nn.functional.pad(array, [side for n in reversed(missing) for side in (0, n)])
    run = clock.timed("network", network)
    clock.start()
    with torch.inference_mode(), torch.autocast(device.type, enabled=device.type == "cuda"):
        for start in product(*tile_starts(array.shape[1:], patch)):
            run(array[(None, slice(None), *(slice(s, s + p) for s, p in zip(start, patch, strict=True)))])


def _nnunet_predictor(model: Path, device):
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ.setdefault(variable, "/nonexistent")  # nnU-Net complains at import without them
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(use_mirroring=False, device=device, perform_everything_on_device=True, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(model), use_folds=(0,), checkpoint_name="checkpoint_final.pth")
    return predictor


PROGRAMS = {
    "medsegai": run_medsegai,
    "standard": functools.partial(run_medsegai, quality="standard"),
    "nnunet": run_nnunet,
    "monai": run_monai,
    "floor": run_floor,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", choices=list(PROGRAMS))
    parser.add_argument("model", type=Path)
    parser.add_argument("image", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--memory-limit", type=int, default=0, help="bytes of address space; 0 for no limit")
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    if arguments.memory_limit:
        resource.setrlimit(resource.RLIMIT_DATA, (arguments.memory_limit, arguments.memory_limit))
    clock = Clock(device)
    try:
        PROGRAMS[arguments.program](arguments.model, arguments.image, arguments.output, device, clock)
    except (MemoryError, RuntimeError) as error:
        traceback.print_exc()
        text = str(error) or type(error).__name__
        full = isinstance(error, MemoryError) or "memory" in text.lower() or "allocate" in text.lower()
        print(json.dumps({"failed": "out of memory" if full else text.splitlines()[-1], **clock.peak()}))
        return 0
    print(json.dumps({"wall": clock.wall, "cpu": clock.cpu, **clock.peak()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
