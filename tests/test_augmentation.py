import keras
import numpy as np
import pytest

from closer_tf import CLoSeRLoss, build_ensemble, mlp
from closer_tf.masks import gaussian_masks
from closer_tf.nn.layers import RandomAffine, affine


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(size=(6, 12, 10, 3)).astype(np.float32)


def same(value, count):
    return np.full(count, value, np.float32)


def test_rotation_is_that_of_keras(images):
    turns = 0.07
    theirs = keras.layers.RandomRotation((turns, turns), fill_mode="reflect")(images, training=True)
    angle = 2 * np.pi * turns
    count = len(images)
    ours = affine(
        images,
        same(np.cos(angle), count),
        same(-np.sin(angle), count),
        same(np.sin(angle), count),
        same(np.cos(angle), count),
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("zoom", [-0.2, 0.15])
def test_zoom_is_that_of_keras(images, zoom):
    theirs = keras.layers.RandomZoom((zoom, zoom), fill_mode="reflect")(images, training=True)
    count = len(images)
    ours = affine(images, same(1 + zoom, count), same(0, count), same(0, count), same(1 + zoom, count))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_flip_alone_mirrors_about_half_of_the_images(images):
    many = np.repeat(images[:1], 400, axis=0)
    changed = np.array(RandomAffine(horizontal_flip=True)(many, training=True))
    mirrored = np.isclose(changed, many[:, :, ::-1], atol=1e-5).all(axis=(1, 2, 3))
    kept = np.isclose(changed, many, atol=1e-5).all(axis=(1, 2, 3))
    assert (mirrored | kept).all()
    assert 150 < mirrored.sum() < 250


def test_ranges_of_the_draws():
    """A horizontal ramp shows zoom and rotation in its slopes."""
    ramp = np.broadcast_to(np.arange(33, dtype=np.float32)[None, None, :, None], (500, 33, 33, 1))
    changed = np.array(RandomAffine(rotation=0.02, zoom=0.2, seed=1)(ramp, training=True))
    along = changed[:, 16, 17, 0] - changed[:, 16, 15, 0]
    across = changed[:, 17, 16, 0] - changed[:, 15, 16, 0]
    zoom = np.hypot(along, across) / 2
    turns = np.arctan2(-across, along) / (2 * np.pi)
    assert 0.8 - 1e-3 < zoom.min() < 0.82 and 1.18 < zoom.max() < 1.2 + 1e-3
    assert -0.02 - 1e-3 < turns.min() < -0.0185 and 0.0185 < turns.max() < 0.02 + 1e-3


def test_identity_outside_training(images):
    layer = RandomAffine(True, 0.1, 0.2)
    np.testing.assert_array_equal(layer(images), images)
    np.testing.assert_array_equal(layer(images, training=False), images)


def test_draws_follow_from_the_seed(images):
    one, same_seed, other = (RandomAffine(True, 0.1, 0.2, seed=seed)(images, training=True) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, same_seed)
    assert np.abs(np.array(one) - np.array(other)).max() > 0.1


def test_each_image_gets_its_own_draw(images):
    changed = np.array(RandomAffine(rotation=0.1, zoom=0.2)(np.repeat(images[:1], 6, axis=0), training=True))
    assert len(np.unique(changed.reshape(6, -1), axis=0)) == 6


def test_the_order_of_axes_is_that_of_the_package(images):
    first = RandomAffine(rotation=0.1, zoom=0.1, seed=1)(images, training=True)
    keras.config.set_image_data_format("channels_first")  # as a keras.json may say
    try:
        second = RandomAffine(rotation=0.1, zoom=0.1, seed=1)(images, training=True)
    finally:
        keras.config.set_image_data_format("channels_last")
    np.testing.assert_array_equal(first, second)


def test_a_step_with_it_is_not_compiled_by_xla(images):
    """TensorFlow's resampling has no XLA kernel; where a GPU is, Keras compiles what does not say so."""
    fields = gaussian_masks(images.shape[1:3], 2, 0.2)
    ensemble = build_ensemble(
        images.shape[1:], fields, lambda i, shape: mlp(shape, (), 2), augmentation=RandomAffine(rotation=0.1)
    )
    with pytest.warns(UserWarning, match="jit_compile"):
        ensemble.compile(loss=CLoSeRLoss(), jit_compile=True)
    assert ensemble.jit_compile is False
    assert np.isfinite(ensemble.fit(images, batch_size=2, verbose=0).history["loss"]).all()
