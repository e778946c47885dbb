"""The training loop learns, can be stopped and resumed, and writes what nnU-Net can read."""

import csv

import numpy as np
import pytest
import torch

from MedSegAICore.errors import Cancelled, TrainingError
from MedSegAILib.training.dataset import prepare_case
from MedSegAILib.training.planning import Fingerprint, make_plans
from MedSegAILib.training.settings import TrainingSettings
from MedSegAILib.training.trainer import Fold, Trainer

DESCRIPTION = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "ball": 1}, "file_ending": ".nii.gz"}


def ball_case(seed, shape=(16, 16, 16)):
    """A bright ball somewhere in noise."""
    random = np.random.default_rng(seed)
    center = random.uniform(6, 10, 3)[:, None, None, None]
    mask = ((np.indices(shape) - center) ** 2).sum(0) <= 16
    image = (mask * 3 + random.normal(0, 0.5, shape)).astype(np.float32)
    return prepare_case(f"ball{seed}", image[None], mask.astype(np.uint8), random)


def dice_of(network, case):
    with torch.inference_mode():
        ours = network(torch.from_numpy(case.image)[None])[0].argmax(0).numpy() == 1
    return 2 * (ours & (case.labels == 1)).sum() / (ours.sum() + (case.labels == 1).sum())


def make_fold(**changes):
    fingerprint = Fingerprint((16, 16, 16), (1, 1, 1), 1.0, (np.array([1.0]),))
    plans = make_plans("Balls", [fingerprint] * 4, DESCRIPTION, patch_size=(16, 16, 16), base_features=4)
    unseen = ball_case(99)
    fields = {
        "name": "0", "configuration": "3d_fullres", "plans": plans, "dataset": DESCRIPTION, "classes": [(0,), (1,)],
        "class_names": ["ball"], "cases": [ball_case(seed) for seed in range(4)],
        "validate": lambda network: {"ball": dice_of(network, unseen)},
    }  # fmt: skip
    return Fold(**{**fields, **changes})


def settings(**changes):
    fields = {"iterations": 60, "optimizer": "adamw", "learning_rate": 5e-3, "precision": "float32", "threads": 1,
              "warmup_iterations": 5, "augmentation": "mild", "ema_decay": 0.9}  # fmt: skip
    return TrainingSettings(**{**fields, **changes})


def test_it_learns_a_ball_and_logs_what_it_learned(tmp_path):
    checkpoint = Trainer(make_fold(), settings(iterations=120), tmp_path).run()
    with open(tmp_path / "progress.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["validation_dice_ball"]) > 0.9
    assert int(row["iteration"]) == 120
    assert checkpoint == tmp_path / "checkpoint_final.pth"
    assert (tmp_path / "progress.png").stat().st_size > 5000


def test_the_checkpoint_has_what_nnunet_reads_and_opens_without_pickled_code(tmp_path):
    Trainer(make_fold(), settings(iterations=2, mirror_axes=(0, 2)), tmp_path).run()
    content = torch.load(tmp_path / "checkpoint_final.pth", weights_only=True)
    assert content["trainer_name"] == "nnUNetTrainer"
    assert content["init_args"]["configuration"] == "3d_fullres"
    assert content["inference_allowed_mirroring_axes"] == (0, 2)
    assert {"plans", "configuration", "fold", "dataset_json"} == set(content["init_args"])
    assert "decoder.encoder.stages.0.0.convs.0.all_modules.0.weight" in content["network_weights"]
    # Every weight is stored once, though nnU-Net's names mention it up to four times.
    weights = {tensor.data_ptr(): tensor.numel() for tensor in content["network_weights"].values()}
    assert (tmp_path / "checkpoint_final.pth").stat().st_size < 1.5 * 4 * sum(weights.values()) + 300_000


def test_a_cancelled_run_resumes_where_it_stopped(tmp_path):
    trainer = Trainer(make_fold(), settings(), tmp_path)
    with pytest.raises(Cancelled, match="after 7 iterations"):
        trainer.run(cancelled=lambda: trainer.iteration >= 7)
    again = Trainer(make_fold(), settings(), tmp_path, resume=True)
    assert again.iteration == 7
    for ours, theirs in zip(again.network.parameters(), trainer.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    again.run()
    assert again.iteration == 60


def test_ctrl_c_saves_what_was_trained(tmp_path, monkeypatch):
    trainer = Trainer(make_fold(), settings(), tmp_path)
    step = trainer._step

    def interrupted():
        if trainer.iteration == 5:
            raise KeyboardInterrupt
        return step()

    monkeypatch.setattr(trainer, "_step", interrupted)
    with pytest.raises(Cancelled, match="after 5 iterations"):
        trainer.run()
    assert Trainer(make_fold(), settings(), tmp_path, resume=True).iteration == 5


def test_a_folder_that_holds_a_run_is_not_overwritten(tmp_path):
    Trainer(make_fold(validate=None), settings(iterations=1), tmp_path).run()
    weights = (tmp_path / "checkpoint_final.pth").read_bytes()
    with pytest.raises(TrainingError, match="holds a run already"):
        Trainer(make_fold(validate=None), settings(iterations=1), tmp_path)
    assert (tmp_path / "checkpoint_final.pth").read_bytes() == weights


def test_resuming_nothing_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="nothing to resume"):
        Trainer(make_fold(), settings(), tmp_path, resume=True)


def test_a_loss_that_is_not_finite_stops_with_the_iteration(tmp_path):
    broken = prepare_case("x", np.full((1, 16, 16, 16), np.nan, np.float32), np.zeros((16, 16, 16), np.uint8),
                          np.random.default_rng(0))  # fmt: skip
    with pytest.raises(TrainingError, match="iteration 0"):
        Trainer(make_fold(cases=[broken]), settings(), tmp_path).run()


def test_time_bounds_the_run_and_decays_the_learning_rate_to_its_end(tmp_path):
    trainer = Trainer(make_fold(validate=None), settings(iterations=10**6, minutes=0.03), tmp_path)
    trainer.run()
    assert 1 < trainer.iteration < 10**5
    assert trainer._learning_rate() == 0


@pytest.mark.parametrize(("schedule", "half"), [("poly", 0.5**0.9), ("cosine", 0.5)])
def test_the_learning_rate_halfway(tmp_path, schedule, half):
    trainer = Trainer(make_fold(), settings(schedule=schedule, iterations=1000), tmp_path)
    trainer.iteration = 500
    assert trainer._learning_rate() == pytest.approx(5e-3 * half)


@pytest.mark.parametrize(
    "options", [{"loss": "focal"}, {"loss": "generalized_dice"}, {"optimizer": "sgd", "ema_decay": 0}]
)
def test_every_loss_and_optimizer_makes_steps(tmp_path, options):
    Trainer(make_fold(validate=None), settings(iterations=3, **options), tmp_path).run()
    assert (tmp_path / "checkpoint_final.pth").is_file()


def test_a_2d_plan_trains_on_slices(tmp_path):
    fingerprint = Fingerprint((16, 16, 16), (5, 1, 1), 1.0, (np.array([1.0]),))
    plans = make_plans("Balls", [fingerprint], DESCRIPTION, dimensions=2, patch_size=(16, 16), base_features=4)
    Trainer(make_fold(plans=plans, configuration="2d", validate=None), settings(iterations=3), tmp_path).run()
    assert (tmp_path / "checkpoint_final.pth").is_file()


@pytest.mark.parametrize(
    ("name", "value"),
    [("loss", "hinge"), ("iterations", 0), ("minutes", -1), ("mirror_axes", (3,)), ("ema_decay", 1.5)],
)
def test_settings_refuse_bad_values_by_name(name, value):
    with pytest.raises(TrainingError, match=name):
        TrainingSettings(**{name: value})
