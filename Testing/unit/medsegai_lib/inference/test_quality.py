"""Qualities, made definite for a model and a device; and the box that holds the body."""

import numpy as np
import pytest
import torch

from fixtures_models import make_model_folder
from MedSegAICore.errors import InputError
from MedSegAICore.files import read_image
from MedSegAICore.grid import Grid
from MedSegAICore.image import Image
from MedSegAILib.inference import devices
from MedSegAILib.inference.body import body_box
from MedSegAILib.inference.prediction import Predictor
from MedSegAILib.inference.quality import Settings
from MedSegAILib.models.folder import ModelFolder

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_best_is_what_nnunet_does():
    assert Settings.of("best", CPU, (0, 1, 2)) == Settings("best", 0.5, "float32", (0, 1, 2), False)
    assert Settings.of("best", CUDA, (2,)) == Settings("best", 0.5, "float16", (2,), False)
    assert Settings.of("best", CPU, (0, 1, 2), mirroring=False).mirror_axes == ()


@pytest.mark.parametrize(("fast", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_sixteen_bits_only_where_the_processor_is_fast_with_them(monkeypatch, fast, expected):
    monkeypatch.setattr(devices, "_is_fast_with_bfloat16", lambda: fast)
    assert Settings.of("standard", CPU, ()).precision == expected
    assert Settings.of("best", CPU, ()).precision == "float32"
    assert Settings.of("standard", CUDA, ()).precision == "float16"


def test_mirroring_can_be_asked_for_in_any_quality():
    assert Settings.of("fast", CPU, (0, 1)).passes == 1
    assert Settings.of("fast", CPU, (0, 1), mirroring=True).passes == 4


def test_settings_say_what_they_do():
    text = str(Settings("best", 0.5, "float32", (0, 1), False))
    assert text == "quality best: tiles overlap by 50%, float32, mirrored 4 ways"
    assert str(Settings("fast", 0.75, "float32", (), True)).endswith("not mirrored, without the air around the body")


def test_an_unknown_quality_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"no quality 'turbo'; choose fast, standard, best"):
        Settings.of("turbo", CPU, ())


def head(shape=(90, 160, 140), center=(45, 70, 60), radii=(20, 35, 30), noise=5.0, air=0.0, tissue=300.0):
    """An ellipsoid with noise around it, like a head in an MR volume."""
    k, j, i = np.ogrid[tuple(map(slice, shape))]
    inside = sum(((n - c) / r) ** 2 for n, c, r in zip((k, j, i), center, radii, strict=True)) <= 1
    array = np.where(inside, tissue, air) + np.random.default_rng(0).normal(0, noise, shape)
    return array.astype(np.float32), inside


def ends(box):
    return [(part.start, part.stop) for part in box]


@pytest.mark.parametrize("spacing", [(1, 1, 1), (2, 1, 1), (6.5, 0.7, 0.7)])
@pytest.mark.parametrize(("air", "tissue"), [(0, 300), (-1000, 40), (-2.0, 1.5)])
def test_the_box_holds_the_body_with_its_margin_and_not_much_more(spacing, air, tissue):
    array, inside = head(air=air, tissue=tissue, noise=abs(tissue - air) / 60)
    box = body_box(array[None], spacing)
    body = [np.flatnonzero(inside.any(tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    for part, occupied, step, size in zip(box, body, spacing, array.shape, strict=True):
        margin, looked = int(np.ceil(20 / step)), round(4 / step) + 1
        assert max(0, occupied[0] - margin - looked) <= part.start <= max(0, occupied[0] - margin + 1)
        assert min(size, occupied[-1] + margin - 1) <= part.stop <= min(size, occupied[-1] + 1 + margin + looked)


def test_specks_in_the_air_do_not_count_but_a_second_piece_does():
    array, _ = head()
    array[2:4, 150:152, 132:134] = 900  # 8 voxels
    speck = body_box(array[None], (1, 1, 1))
    assert speck == body_box(head()[0][None], (1, 1, 1))
    array[10:30, 140:158, 80:98] = 300  # an arm
    assert body_box(array[None], (1, 1, 1))[1].stop == 160


def test_a_body_that_only_one_channel_shows_is_found():
    array, _ = head()
    small, _ = head(radii=(16, 28, 24))
    assert body_box(np.stack([small, array]), (1, 1, 1)) == body_box(array[None], (1, 1, 1))


def test_a_volume_without_air_is_left_whole(shared_data):
    noise = np.random.default_rng(0).normal(100, 20, (1, 40, 50, 60)).astype(np.float32)
    assert ends(body_box(noise, (1, 1, 1))) == [(0, 40), (0, 50), (0, 60)]
    constant = np.ones((1, 40, 50, 60), np.float32)
    assert ends(body_box(constant, (1, 1, 1))) == [(0, 40), (0, 50), (0, 60)]
    for path in sorted(shared_data("hippocampus/images").glob("*.nii.gz"))[:20]:
        image = read_image(path)
        whole = [(0, size) for size in image.grid.shape]
        assert ends(body_box(image.array.astype(np.float32), image.grid.spacing_kji)) == whole


def test_without_the_air_the_network_sees_the_same_intensities_in_the_box(tmp_path):
    """Normalization is that of the whole volume, so nothing in the box changes, and nothing is found outside."""
    array, _ = head()
    image = Image(array[None], Grid(array.shape, np.diag([-1.0, 1.0, 1.0, 1.0])))
    model = ModelFolder.open(make_model_folder(tmp_path / "m"))
    (whole, _), (part, placement) = model.prepare(image), model.prepare(image, body_only=True)
    box = body_box(array[None], (1, 1, 1))
    assert torch.equal(part, whole[(slice(None), *box)])
    assert placement.crop == box
    labels = Predictor(model, "cpu", quality="standard").segment(image).label_map.array
    outside = np.ones(array.shape, bool)
    outside[box] = False
    assert labels[box].any()
    assert not labels[outside].any()
