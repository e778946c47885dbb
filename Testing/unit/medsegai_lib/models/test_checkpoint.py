"""A checkpoint gives weights, and never runs code."""

import os
import pickle
import zipfile

import numpy as np
import pytest
import torch

from MedSegAICore.errors import ModelError
from MedSegAILib.models.checkpoint import load_checkpoint

WEIGHTS = {"layer.weight": torch.arange(6.0).reshape(2, 3)}


class Malicious:
    """Pickles to a call that would create a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def save(path, **content):
    torch.save({"network_weights": WEIGHTS, **content}, path)
    return path


def test_weights_come_back_unchanged(tmp_path):
    weights = load_checkpoint(save(tmp_path / "c.pth"))["network_weights"]
    assert torch.equal(weights["layer.weight"], WEIGHTS["layer.weight"])


def test_wrapper_prefixes_are_stripped(tmp_path):
    wrapped = {"_orig_mod.module.layer.weight": torch.ones(1), "module.other": torch.ones(1)}
    torch.save({"network_weights": wrapped}, tmp_path / "c.pth")
    assert set(load_checkpoint(tmp_path / "c.pth")["network_weights"]) == {"layer.weight", "other"}


def test_numpy_scalars_in_nnunets_log_are_accepted(tmp_path):
    logging = {"mean_fg_dice": [np.float64(0.9), np.float32(0.8)], "epoch": np.int64(3), "done": np.bool_(True)}
    content = load_checkpoint(save(tmp_path / "c.pth", logging=logging, _best_ema=np.float64(0.91)))
    assert content["logging"]["mean_fg_dice"][0] == 0.9
    assert content["_best_ema"] == 0.91


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_scalars_under_the_module_names_of_numpy_1_and_2_are_accepted(tmp_path, module):
    raw = pickle.dumps(np.float64(0.5), protocol=2).replace(b"numpy._core.multiarray", module.encode())
    raw = raw.replace(b"numpy.core.multiarray", module.encode())
    path = save(tmp_path / "c.pth")
    # Rewrite the archive's pickle with the scalar under the wanted module name.
    with zipfile.ZipFile(path) as source:
        entries = {name: source.read(name) for name in source.namelist()}
    name = next(name for name in entries if name.endswith("data.pkl"))
    body = entries[name]
    assert body.endswith(b"u.") or body.endswith(b"s.")
    scalar = raw[2:-1]  # without PROTO and STOP
    entries[name] = body[:-1] + b"X\x05\x00\x00\x00extra" + scalar + b"s."
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as target:
        for entry, data in entries.items():
            target.writestr(entry, data)
    assert load_checkpoint(path)["extra"] == 0.5


def test_a_malicious_pickle_is_refused_by_name_and_not_run(tmp_path):
    marker = tmp_path / "executed"
    path = save(tmp_path / "c.pth", logging=Malicious(marker))
    with pytest.raises(ModelError, match=r"nothing of it was run.*system"):
        load_checkpoint(path)
    assert not marker.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_bare_pickle_is_not_run_either(tmp_path):
    marker, path = tmp_path / "executed", tmp_path / "c.pth"
    path.write_bytes(pickle.dumps(Malicious(marker)))
    with pytest.raises(ModelError):
        load_checkpoint(path)
    assert not marker.exists()


@pytest.mark.parametrize("keep", [0, 10, 500, -100])
def test_a_truncated_file_is_called_damaged(tmp_path, keep):
    path = save(tmp_path / "c.pth")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"c\.pth .*damaged"):
        load_checkpoint(path)


def test_text_a_missing_file_and_other_contents_are_refused(tmp_path):
    (tmp_path / "text.pth").write_text("not a checkpoint")
    with pytest.raises(ModelError, match="damaged"):
        load_checkpoint(tmp_path / "text.pth")
    with pytest.raises(ModelError, match="does not exist"):
        load_checkpoint(tmp_path / "missing.pth")
    torch.save({"state_dict": WEIGHTS}, tmp_path / "other.pth")
    with pytest.raises(ModelError, match="network_weights"):
        load_checkpoint(tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ModelError, match="network_weights"):
        load_checkpoint(tmp_path / "list.pth")
