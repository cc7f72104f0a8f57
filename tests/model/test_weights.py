"""Weights: Keras' layout is read, wrong files are refused by name, and random filters keep the scale."""

import logging

import h5py
import numpy as np
import pytest
import safetensors.numpy

from styleserve.download import Source
from styleserve.errors import WeightsError
from styleserve.model.acquisition import acquire
from styleserve.model.calibration import natural_image
from styleserve.model.light import FILE, light
from styleserve.model.vgg import VggNetwork, taps_of
from styleserve.model.weights import BLOCKS, kernel_shapes, load_file, untrained
from styleserve.presets import PRESETS
from support.network import REAL_WEIGHTS, needs_weights, see

SMALL = ((1, 4), (2, 8))
NOWHERE = Source("http://127.0.0.1:9/vgg19.h5", f"md5:{'0' * 32}", "vgg19.h5", max_bytes=10**6, timeout_s=20.0)


def write(path, shapes, change=None):
    """A file as Keras writes it: a group a layer, within it a group of the same name with kernel:0 and bias:0."""
    arrays = {name: (np.ones(shape, np.float32), np.zeros(shape[3], np.float32)) for name, shape in shapes.items()}
    if change is not None:
        change(arrays)
    with h5py.File(path, "w") as file:
        file.create_group("block1_pool")
        for name, (kernel, bias) in arrays.items():
            file.create_dataset(f"{name}/{name}/kernel:0", data=kernel)
            file.create_dataset(f"{name}/{name}/bias:0", data=bias)
    return path


def test_the_network_is_vgg19():
    shapes = kernel_shapes()
    assert len(shapes) == 16
    assert shapes["block1_conv1"] == (3, 3, 3, 64)
    assert shapes["block3_conv1"] == (3, 3, 128, 256)
    assert shapes["block5_conv4"] == (3, 3, 512, 512)


def test_keras_layout_is_read(tmp_path):
    weights = load_file(write(tmp_path / "mine.h5", kernel_shapes(SMALL)), SMALL)
    assert list(weights.kernels) == ["block1_conv1", "block2_conv1", "block2_conv2"]
    assert weights.kernels["block2_conv2"].shape == (3, 3, 8, 8)
    assert weights.label.startswith("mine.h5@sha256:")
    assert len(weights.label) == len("mine.h5@sha256:") + 12
    assert weights.is_trained


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda arrays: arrays.pop("block2_conv1"),
            r"expected layer block2_conv1 with a kernel of shape \(3, 3, 4, 8\)",
        ),
        (
            lambda arrays: arrays.update(block2_conv2=(np.ones((3, 3, 8, 9)), np.ones(9))),
            r"expected block2_conv2 with kernel \(3, 3, 8, 8\).*got \(3, 3, 8, 9\)",
        ),
        (
            lambda arrays: arrays.update(block1_conv1=(np.full((3, 3, 3, 4), np.nan), np.ones(4))),
            "block1_conv1 holds values that are not finite",
        ),
        (
            lambda arrays: arrays.update(block1_conv1=(np.ones((3, 3, 3, 4)), np.full(4, 1e300))),
            "block1_conv1 holds values that are not finite",
        ),
        (
            lambda arrays: arrays["block1_conv1"][0].view(np.uint32).ravel()[7:8].__ior__(1 << 30),
            "block1_conv1 holds values that are not finite",
        ),
        (
            lambda arrays: arrays["block2_conv1"][0].ravel()[7:8].fill(2.0**40),
            "block2_conv1 holds values beyond 1000, which no VGG19 has",
        ),
        (
            lambda arrays: arrays["block2_conv2"][0].fill(0),
            "the kernel of block2_conv2 is all zeros",
        ),
        (
            lambda arrays: arrays.update(block1_conv1=(np.ones((3, 3, 3, 4), np.int8), np.ones(4))),
            "expected block1_conv1 with floating-point numbers, got int8 and float64",
        ),
    ],
)
def test_a_file_of_another_network_is_refused_with_what_was_expected(tmp_path, change, message):
    with pytest.raises(WeightsError, match=message):
        load_file(write(tmp_path / "other.h5", kernel_shapes(SMALL), change), SMALL)


def test_a_small_file_that_promises_more_than_memory_holds_is_refused_by_its_shape(tmp_path):
    path = write(tmp_path / "huge.h5", kernel_shapes(SMALL))
    with h5py.File(path, "a") as file:
        del file["block1_conv1/block1_conv1/kernel:0"]
        file.create_dataset("block1_conv1/block1_conv1/kernel:0", (3, 3, 10**9, 10**4), np.float32, chunks=(3, 3, 8, 8))
    with pytest.raises(WeightsError, match="expected block1_conv1 with kernel"):
        load_file(path, SMALL)


def test_of_a_model_that_was_saved_whole_its_weights_are_read_and_not_its_optimizers(tmp_path):
    path = write(tmp_path / "trained.h5", kernel_shapes(SMALL))
    with h5py.File(path, "a") as file:
        for name in kernel_shapes(SMALL):
            file.move(name, f"model_weights/{name}")
            for whose in ("kernel:0", "bias:0"):
                moment = 0.5 * file[f"model_weights/{name}/{name}/{whose}"][...]
                file.create_dataset(f"optimizer_weights/Adam/v/{name}/{whose}", data=moment)
    assert all(np.all(kernel == 1.0) for kernel in load_file(path, SMALL).kernels.values())


@pytest.mark.parametrize(
    ("error", "message"), [(PermissionError(13, "no"), "may not read it"), (IsADirectoryError(21, "no"), "is a folder")]
)
def test_a_file_that_cannot_be_read_is_not_called_damaged(tmp_path, monkeypatch, error, message):
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(h5py, "File", refuse)
    with pytest.raises(WeightsError, match=message):
        load_file(tmp_path / "vgg19.h5")


def test_truncated_foreign_and_absent_files_are_refused(tmp_path):
    whole = write(tmp_path / "whole.h5", kernel_shapes(SMALL)).read_bytes()
    (tmp_path / "half.h5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.h5").write_text("no weights")
    for name in ("half.h5", "text.h5"):
        with pytest.raises(WeightsError, match="expected VGG19's 16 convolutions"):
            load_file(tmp_path / name)
    with pytest.raises(WeightsError, match="there is none"):
        load_file(tmp_path / "absent.h5")
    with pytest.raises(WeightsError, match="absent"):
        acquire(str(tmp_path / "absent.h5"), tmp_path)
    for name in ("~nobody-of-this-name/vgg19.h5", "x" * 5000, str(tmp_path)):
        with pytest.raises(WeightsError):
            acquire(name, tmp_path)


def test_untrained_filters_follow_their_seed():
    first, again, other = untrained(0, SMALL), untrained(0, SMALL), untrained(1, SMALL)
    np.testing.assert_array_equal(first.kernels["block2_conv2"], again.kernels["block2_conv2"])
    assert first.label == again.label != other.label
    assert not first.is_trained
    assert first.label.startswith("untrained@sha256:")


def test_untrained_activations_are_of_size_one_at_every_layer():
    import tensorflow as tf

    features = see(VggNetwork(untrained(), tf.float32), natural_image(64, seed=5), list(taps_of(BLOCKS)), False)
    sizes = [float(tf.sqrt(tf.reduce_mean(feature**2))) for feature in features.values()]
    assert 0.3 < min(sizes) < max(sizes) < 3


def test_offline_imagenet_says_what_to_do_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(WeightsError) as caught:
        acquire("imagenet", tmp_path, source=NOWHERE)
    message = str(caught.value)
    assert NOWHERE.url in message
    assert str(tmp_path / "vgg19.h5") in message
    assert "--weights PATH" in message
    assert "\n" not in message


def test_offline_auto_goes_on_with_the_light_network_and_a_warning(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with caplog.at_level(logging.WARNING):
        weights = acquire("auto", tmp_path, source=NOWHERE)
    assert weights.is_trained
    assert weights.label.startswith("light@sha256:")
    assert "the light network paints, in the place of VGG19" in caplog.text


def test_who_asks_for_vgg19_gets_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(WeightsError, match="could not be fetched"):
        acquire("auto", tmp_path, "vgg19", NOWHERE)


def test_who_asks_for_the_light_network_waits_for_no_download(tmp_path):
    assert acquire("auto", tmp_path, "light", NOWHERE).label.startswith("light@sha256:")


def test_random_filters_are_warned_of(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        assert not acquire("untrained", tmp_path).is_trained
    assert "UNTRAINED WEIGHTS" in caplog.text


def test_the_light_network_has_vgg19s_taps_and_is_small():
    weights = light()
    kept = taps_of(weights.blocks)
    taps = {name for preset in PRESETS.values() for name, _ in preset.loss.content_layers + preset.loss.style_layers}
    assert taps <= kept.keys()
    assert {name: matrix.shape for name, matrix in weights.maps.items()} == {
        name: (kept[name].channels, kept[name].channels) for name in taps
    }
    assert weights.means.keys() == taps
    assert 0.5 < weights.leeway < 1
    assert FILE.stat().st_size <= 4 * 1024 * 1024


@pytest.mark.parametrize("damage", [lambda data: data[:1000], lambda data: b"", lambda data: data[8:]])
def test_a_damaged_light_network_is_refused_in_one_sentence(tmp_path, damage):
    path = tmp_path / "light.safetensors"
    path.write_bytes(damage(FILE.read_bytes()))
    with pytest.raises(WeightsError, match="install styleserve again"):
        light(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("block1_conv1.kernel", np.zeros((3, 3, 3, 16))),
        ("block2_conv1.kernel", np.full((3, 3, 16, 32), np.nan)),
        ("block1_conv1.bias", np.zeros(15)),
        ("block1_conv1.bias", np.full(16, np.inf)),
        ("block1_conv1.bias", np.full(16, 8456.0)),
        ("block1_conv1.kernel", np.full((3, 3, 3, 16), 8456.0)),
        ("block1_conv1.map", np.ones((15, 16))),
        ("block1_conv1.map", np.ones((16, 15))),
        ("block1_conv1.map", None),
        ("block1_conv1.mean", np.zeros(1)),
        ("block1_conv1.mean", None),
        ("leeway", np.full(1, np.nan)),
        ("leeway", np.full(1, 60000.0)),
    ],
)
def test_a_light_network_of_which_a_part_is_damaged_is_refused(tmp_path, name, value):
    tensors = safetensors.numpy.load_file(FILE)
    del tensors[name]
    path = tmp_path / "light.safetensors"
    others = {} if value is None else {name: value.astype(np.float16)}
    safetensors.numpy.save_file({**tensors, **others}, path)
    with pytest.raises(WeightsError, match="install styleserve again"):
        light(path)


@pytest.mark.parametrize("lost", ["block5_", "block3_conv1.m"], ids=["a block", "a tap's map and mean"])
def test_a_light_network_that_lacks_what_presets_compare_is_refused(tmp_path, lost):
    path = tmp_path / "light.safetensors"
    tensors = safetensors.numpy.load_file(FILE)
    safetensors.numpy.save_file({name: own for name, own in tensors.items() if not name.startswith(lost)}, path)
    with pytest.raises(WeightsError, match="install styleserve again"):
        light(path)


def test_a_file_put_into_the_cache_is_not_what_it_claims_and_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    (tmp_path / "vgg19.h5").write_bytes(b"half a download")
    with pytest.raises(WeightsError, match="could not be fetched"):
        acquire("imagenet", tmp_path, source=NOWHERE)


@needs_weights
def test_the_real_file_is_read():
    weights = load_file(REAL_WEIGHTS)
    assert weights.is_trained
    assert {name: kernel.shape for name, kernel in weights.kernels.items()} == kernel_shapes(BLOCKS)
