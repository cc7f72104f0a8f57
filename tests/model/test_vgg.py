"""The network sees what Keras' own VGG19 sees, but for edges that are continued; maps multiply features."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from styleserve.model.vgg import VggNetwork, taps_of
from styleserve.model.weights import Weights, load_file
from support.network import NARROW, REAL_WEIGHTS, SIDE, needs_weights, random_filters, see, smooth

RANDOM = np.random.default_rng(3)


def with_biases(weights: Weights) -> Weights:
    """Untrained weights have none."""
    biases = {name: RANDOM.normal(size=bias.shape).astype(np.float32) for name, bias in weights.biases.items()}
    return dataclasses.replace(weights, biases=biases)


def test_taps_say_the_shape_of_what_they_give():
    features = see(VggNetwork(random_filters(0, NARROW), tf.float32), smooth(1), list(taps_of(NARROW)), True)
    for name, tap in taps_of(NARROW).items():
        assert features[name].shape == (1, SIDE // tap.stride, SIDE // tap.stride, tap.channels)
        assert float(tf.reduce_min(features[name])) >= 0


@pytest.mark.parametrize("is_trained", [False, pytest.param(True, marks=needs_weights)], ids=["untrained", "imagenet"])
def test_the_network_is_keras_own(is_trained):
    """Our VGG19 on the same weights against keras.applications, layer by layer."""
    import keras

    reference = keras.applications.VGG19(include_top=False, weights=str(REAL_WEIGHTS) if is_trained else None)
    weights = load_file(REAL_WEIGHTS) if is_trained else with_biases(random_filters())
    if not is_trained:
        for name, kernel in weights.kernels.items():
            reference.get_layer(name).set_weights([kernel, weights.biases[name]])
    names = ["block1_conv1", "block3_conv4", "block5_conv4"]
    model = keras.Model(reference.input, [reference.get_layer(name).output for name in names])
    image = smooth(1, 64, 80)
    expected = tf.function(model)(keras.applications.vgg19.preprocess_input(image[np.newaxis] * 255))
    ours = see(VggNetwork(weights, tf.float32), image, names, False)
    for name, features in zip(names, expected, strict=True):
        scale = float(tf.reduce_max(features))
        np.testing.assert_allclose(ours[name] / scale, features / scale, atol=1e-5)


def test_a_picture_of_one_colour_looks_the_same_up_to_its_border_where_its_edges_are_continued():
    network = VggNetwork(random_filters(0, NARROW), tf.float32)
    plain = np.full((SIDE, SIDE, 3), (0.9, 0.4, 0.1), np.float32)
    continued, framed = (see(network, plain, ["block1_conv1"], edges)["block1_conv1"][0] for edges in (True, False))
    np.testing.assert_allclose(continued, np.broadcast_to(continued[9, 9], continued.shape), rtol=1e-4)
    assert np.abs(framed - framed[9, 9]).max() > 0.1 * np.abs(framed).max()


def test_a_map_multiplies_the_features_of_its_tap_and_those_of_others_stay():
    """F' = F A at each position, A the map, [C, C']."""
    matrix = RANDOM.normal(size=(8, 5)).astype(np.float32)
    network = VggNetwork(dataclasses.replace(random_filters(0, NARROW), maps={"block1_conv1": matrix}), tf.float32)
    features = RANDOM.normal(size=(1, 4, 6, 8)).astype(np.float32)
    np.testing.assert_allclose(network.mapped("block1_conv1", features), features @ matrix, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(network.mapped("block2_conv1", features), features)


def test_the_gram_matrix_of_mapped_features_comes_of_that_of_the_features():
    """(F A)^T F A, for A that are no symmetric matrices."""
    matrix = RANDOM.normal(size=(8, 5)).astype(np.float32)
    network = VggNetwork(dataclasses.replace(random_filters(0, NARROW), maps={"block1_conv1": matrix}), tf.float32)
    features = RANDOM.normal(size=(2, 30, 8)).astype(np.float32)
    gram = np.swapaxes(features, 1, 2) @ features
    mapped = features @ matrix
    expected = np.swapaxes(mapped, 1, 2) @ mapped
    computed = network.mapped_gram("block1_conv1", gram).numpy()
    np.testing.assert_allclose(computed, expected, rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(computed, np.swapaxes(computed, 1, 2))
    np.testing.assert_array_equal(network.mapped_gram("block2_conv1", gram), gram)
