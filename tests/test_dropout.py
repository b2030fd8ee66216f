"""Dropout: how much is dropped, what is kept, and that it follows from its seed."""

import keras
import numpy as np
import pytest

from closer_tf.nn.layers import Dropout


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.973])
@pytest.mark.parametrize("shape", [(64, 1024), (3, 7, 11, 13), (5, 1)])
def test_what_is_kept_is_scaled_and_what_is_dropped_is_chance(rate, shape):
    layer, ones = Dropout(rate, seed=3), np.ones(shape, np.float32)
    draws = np.stack([np.asarray(layer(ones, training=True)) for _ in range(20)])
    kept = draws > 0
    np.testing.assert_allclose(draws[kept], 1 / (1 - rate), rtol=1e-3)
    sd = (rate * (1 - rate) / draws.size) ** 0.5
    assert abs(1 - kept.mean() - rate) < 4 * sd + 2**-16
    if draws[0].size > 1000:
        assert all(np.any(kept[0] != kept[k]) for k in range(1, 20))
        neighbours = np.corrcoef(kept.reshape(20, -1)[:, :-1].ravel(), kept.reshape(20, -1)[:, 1:].ravel())[0, 1]
        assert abs(neighbours) < 4 / draws.size**0.5  # the values of one word are independent


@pytest.mark.tensorflow
def test_the_gradient_goes_where_values_went():
    import tensorflow as tf

    layer, x = Dropout(0.25, seed=1), tf.Variable(tf.random.stateless_normal((40, 50), (0, 1)))
    with tf.GradientTape() as tape:
        y = layer(x, training=True)
    np.testing.assert_allclose(tape.gradient(y, x), np.where(y != 0, 1 / 0.75, 0), rtol=1e-6)


def test_the_seed_decides():
    x = np.ones((20, 30), np.float32)
    first, again, other = (Dropout(0.5, seed=seed) for seed in (7, 7, 8))
    for _ in range(2):
        drawn = np.asarray(first(x, training=True))
        np.testing.assert_array_equal(drawn, again(x, training=True))
        assert np.any(drawn != np.asarray(other(x, training=True)))


def test_outside_training_and_at_the_ends_nothing_is_drawn():
    x = np.ones((4, 5), np.float32)
    np.testing.assert_array_equal(Dropout(0.5)(x), x)
    np.testing.assert_array_equal(Dropout(0.0)(x, training=True), x)
    np.testing.assert_array_equal(Dropout(1.0)(x, training=True), 0 * x)


def test_it_is_saved_as_keras_own():
    layer = Dropout(0.3, seed=4, name="drop")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is Dropout and again.get_config() == layer.get_config()
    x = np.ones((20, 30), np.float32)
    np.testing.assert_array_equal(again(x, training=True), layer(x, training=True))
