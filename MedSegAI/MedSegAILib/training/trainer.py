"""The training loop: batches in, weights out, resumable at any time.

Writes one fold of an nnU-Net v2 trained-model folder: ``checkpoint_latest.pth`` to resume from,
``checkpoint_final.pth`` for use, ``progress.csv`` and ``progress.png``.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from MedSegAICore.errors import Cancelled, TrainingError
from MedSegAICore.files import atomic_path
from MedSegAILib.models.architecture import build_network
from MedSegAILib.training.augmentation import Augmentation
from MedSegAILib.training.dataset import PatchSampler, PreparedCase
from MedSegAILib.training.losses import deeply_supervised, make_loss
from MedSegAILib.training.progress import ProgressLog
from MedSegAILib.training.settings import TrainingSettings

if TYPE_CHECKING:
    import torch

Progress = Callable[[float, str], None]
CHECKPOINT_SECONDS = 60.0  # how much work a power failure may cost
POLY_EXPONENT = 0.9


@dataclass(frozen=True)
class Fold:
    """What one fold trains: the plan, what its outputs mean, and prepared cases.

    ``classes``: label values per network output. ``validate``: from a network to the mean Dice per foreground class
    on the validation cases, or None if the fold has none.
    """

    name: str
    configuration: str
    plans: Mapping[str, Any]
    dataset: Mapping[str, Any]
    classes: Sequence[tuple[int, ...]]
    class_names: Sequence[str]
    cases: Sequence[PreparedCase]
    validate: Callable[[torch.nn.Module], dict[str, float]] | None = None
    regions: bool = False
    ignore: int | None = None

    @property
    def plan(self) -> Mapping[str, Any]:
        return self.plans["configurations"][self.configuration]


class Trainer:
    """Trains one fold.

    >>> trainer = Trainer(fold, TrainingSettings(minutes=30), Path("model/fold_0"))
    >>> trainer.run()

    ``folder`` is created. With ``resume`` the run goes on from ``checkpoint_latest.pth`` with the settings given now:
    a longer ``minutes`` or ``iterations`` extends it. Without, a folder that holds a run is refused.
    Raises TrainingError if the folder holds a run, or the loss is no longer finite; Cancelled on Ctrl-C or when
    ``cancelled()`` is true, after a checkpoint was written.
    """

    def __init__(self, fold: Fold, settings: TrainingSettings, folder: Path, *, resume: bool = False):
        import torch

        from MedSegAILib.inference.devices import choose_device

        self.fold, self.settings, self.folder = fold, settings, Path(folder)
        if not resume and any(self.folder.glob("checkpoint_*.pth")):
            raise TrainingError(f"{self.folder} holds a run already. Resume it, or choose another fold or folder.")
        self.folder.mkdir(parents=True, exist_ok=True)
        if settings.threads:
            torch.set_num_threads(settings.threads)
        torch.manual_seed(settings.seed)
        self.device = choose_device(settings.device)
        plan = fold.plan
        self.network = build_network(
            plan["architecture"], fold.cases[0].image.shape[0], len(fold.classes), deep_supervision=True
        ).to(self.device)
        _initialize(self.network)
        self.average = copy.deepcopy(self.network)
        self.optimizer = self._make_optimizer()
        self.sampler = self._make_sampler(settings.seed)
        self.loss = deeply_supervised(
            make_loss(
                settings.loss, regions=fold.regions, batch_dice=plan["batch_dice"], class_weights=settings.class_weights
            )
        )
        self.iteration, self.elapsed, self.best = 0, 0.0, -1.0
        self.log = ProgressLog(self.folder, fold.class_names, fresh=not resume)
        if resume:
            self._restore()
        self.precision = self._choose_precision()
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "float16")

    def run(self, progress: Progress | None = None, cancelled: Callable[[], bool] | None = None) -> Path:
        """Train to the planned end; returns the path of ``checkpoint_final.pth``."""
        try:
            self._loop(progress, cancelled)
        except KeyboardInterrupt as stop:
            self._save("checkpoint_latest.pth", resumable=True)
            raise Cancelled(f"Stopped after {self.iteration} iterations; resume continues from there.") from stop
        self._save("checkpoint_latest.pth", resumable=True)
        return self._save("checkpoint_final.pth", resumable=False)

    def _loop(self, progress: Progress | None, cancelled: Callable[[], bool] | None):
        started, already = time.monotonic(), self.elapsed
        saved = validated = started
        losses: list[float] = []
        while self.progress < 1:
            losses.append(self._step())
            now = time.monotonic()
            self.elapsed = already + now - started
            if progress and self.iteration % 10 == 0:
                progress(min(1.0, self.progress), f"iteration {self.iteration}, loss {np.mean(losses[-50:]):.4f}")
            if now - validated > 60 * self.settings.validate_every_minutes:
                self._record(losses)
                losses, validated = [], time.monotonic()
            if now - saved > CHECKPOINT_SECONDS:
                self._save("checkpoint_latest.pth", resumable=True)
                saved = now
            if cancelled and cancelled():
                raise KeyboardInterrupt
        if losses:
            self._record(losses)

    @property
    def progress(self) -> float:
        """The part of the planned run that is done, by iterations or by time, whichever is further."""
        by_time = self.elapsed / (60 * self.settings.minutes) if self.settings.minutes else 0.0
        return max(self.iteration / self.settings.iterations, by_time)

    def _step(self) -> float:
        import torch

        self.network.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        images, targets, mask = self.sampler.batch()
        images, targets, mask = self._drop_flat_axis(images), self._drop_flat_axis(targets), self._drop_flat_axis(mask)
        self.optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            outputs = self.network(images)
        loss = self.loss([output.float() for output in outputs], targets, mask)
        value = float(loss.detach())
        if not np.isfinite(value):
            raise TrainingError(
                f"The loss became {value} at iteration {self.iteration}; lower the learning rate "
                f"({self.settings.initial_learning_rate:g}) and resume."
            )
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.gradient_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.iteration += 1
        self._update_average()
        return value

    def _drop_flat_axis(self, tensor):
        """A 2D plan draws patches that are one slice thick."""
        flat = len(self.fold.plan["patch_size"]) == 2
        return tensor.squeeze(2) if flat and tensor is not None else tensor

    def _update_average(self):
        """Exponential moving average of the weights; short at first, so that the random start is forgotten."""
        import torch

        decay = min(self.settings.ema_decay, (1 + self.iteration) / (10 + self.iteration))
        with torch.no_grad():
            ours, theirs = list(self.average.parameters()), list(self.network.parameters())
            torch._foreach_lerp_(ours, theirs, 1 - decay)
            for mean, current in zip(self.average.buffers(), self.network.buffers(), strict=True):
                mean.copy_(current)

    def _learning_rate(self) -> float:
        done = min(1.0, self.progress)
        decay = (1 - done) ** POLY_EXPONENT if self.settings.schedule == "poly" else (1 + np.cos(np.pi * done)) / 2
        warmup = min(1.0, (self.iteration + 1) / max(1, self.settings.warmup_iterations))
        return self.settings.initial_learning_rate * decay * warmup

    def _make_optimizer(self) -> torch.optim.Optimizer:
        import torch

        settings, parameters = self.settings, self.network.parameters()
        if settings.optimizer == "sgd":
            return torch.optim.SGD(
                parameters, settings.initial_learning_rate, momentum=0.99, nesterov=True,
                weight_decay=settings.weight_decay,
            )  # fmt: skip
        return torch.optim.AdamW(parameters, settings.initial_learning_rate, weight_decay=settings.weight_decay)

    def _make_sampler(self, seed: int) -> PatchSampler:
        plan, fold = self.fold.plan, self.fold
        patch, spacing = list(plan["patch_size"]), list(plan["spacing"])
        if len(patch) == 2:
            patch, spacing = [1, *patch], [float(fold.plans["original_median_spacing_after_transp"][0]), *spacing]
        return PatchSampler(
            fold.cases, fold.classes, patch, spacing, self.settings.batch_size or plan["batch_size"],
            Augmentation.named(self.settings.augmentation, self.settings.mirror_axes),
            regions=fold.regions, ignore=fold.ignore, foreground_fraction=self.settings.foreground_fraction,
            seed=seed, device=self.device,
        )  # fmt: skip

    def _choose_precision(self) -> str:
        """On a CPU bfloat16 is three times faster or slower than float32, depending on the chip: measure it."""
        import torch

        if self.settings.precision != "auto":
            return self.settings.precision
        if self.device.type == "cuda":
            return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
        if self.device.type != "cpu":
            return "float32"
        shape = (1, self.fold.cases[0].image.shape[0], *self.fold.plan["patch_size"])
        images, seconds = torch.zeros(shape, device=self.device), {}
        for self.precision in ("float32", "bfloat16"):
            for _ in range(2):  # the first one warms up
                started = time.monotonic()
                with self._autocast():
                    outputs = self.network(images)
                sum(output.float().mean() for output in outputs).backward()
                seconds[self.precision] = time.monotonic() - started
        self.optimizer.zero_grad(set_to_none=True)
        return min(seconds, key=seconds.get)

    def _autocast(self):
        import torch

        dtype = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(self.precision)
        return torch.autocast(self.device.type, dtype or torch.bfloat16, enabled=dtype is not None)

    def _record(self, losses: Sequence[float]):
        """One line in the log; validates the averaged weights and keeps the best beside the latest."""
        dice = {}
        if self.fold.validate is not None:
            network = self.inference_network()
            dice = self.fold.validate(network)
            mean = float(np.mean(list(dice.values())))
            if mean > self.best:
                self.best = mean
                self._save("checkpoint_best.pth", resumable=False)
        self.log.append(self.iteration, self.elapsed, self._learning_rate(), float(np.mean(losses)), dice)

    def inference_network(self) -> torch.nn.Module:
        """The averaged network (the current one without averaging), returning full-resolution logits only."""
        network = copy.deepcopy(self.average if self.settings.ema_decay else self.network)
        network.decoder.deep_supervision = False
        return network.eval()

    def _save(self, name: str, *, resumable: bool) -> Path:
        import torch

        chosen = self.average if self.settings.ema_decay else self.network
        content: dict[str, Any] = {
            "network_weights": _cpu(chosen.state_dict()),
            "trainer_name": "nnUNetTrainer",
            "init_args": {
                "plans": dict(self.fold.plans),
                "configuration": self.fold.configuration,
                "fold": self.fold.name,
                "dataset_json": dict(self.fold.dataset),
            },
            "inference_allowed_mirroring_axes": tuple(self.settings.mirror_axes),
            "current_epoch": self.iteration // 250,  # nnU-Net's epoch is 250 iterations
            "_best_ema": self.best,
            "grad_scaler_state": None,
            "logging": {},
        }
        if resumable:
            content["medsegai"] = {
                "training_weights": _cpu(self.network.state_dict()),
                "optimizer": self.optimizer.state_dict(),
                "iteration": self.iteration,
                "elapsed": self.elapsed,
                "settings": self.settings.to_dict(),
            }
        path = self.folder / name
        with atomic_path(path) as temporary:
            torch.save(content, temporary)
        return path

    def _restore(self):
        from MedSegAILib.models.checkpoint import load_checkpoint

        path = self.folder / "checkpoint_latest.pth"
        if not path.is_file():
            raise TrainingError(f"There is nothing to resume: {path} does not exist. Start without resuming.")
        content = load_checkpoint(path)
        state = content["medsegai"]
        self.average.load_state_dict(content["network_weights"])
        self.network.load_state_dict(state["training_weights"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.iteration, self.elapsed, self.best = state["iteration"], state["elapsed"], content["_best_ema"]
        # Not the same batches again: the sampler goes on from another point of its random sequence.
        self.sampler = self._make_sampler(self.settings.seed + 1 + self.iteration)


def _cpu(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """On the CPU; tensors that share memory keep sharing it, or the file would hold each of them three times."""
    copies: dict[int, torch.Tensor] = {}
    return {
        name: copies.setdefault(tensor.data_ptr(), tensor.detach().cpu()) if tensor.numel() else tensor.detach().cpu()
        for name, tensor in state.items()
    }


def _initialize(network: torch.nn.Module):
    """He initialization for leaky rectifiers, biases zero (as nnU-Net)."""
    from torch import nn

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            nn.init.kaiming_normal_(module.weight, a=1e-2)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
