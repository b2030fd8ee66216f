"""Each way of computing faster or in less memory gives what the plain way gives."""

import keras
import numpy as np
import pytest

from closer_tf import graphs
from closer_tf.config import parse_config
from closer_tf.data import load_data
from closer_tf.masks import random_patch_masks
from closer_tf.nn.encoders import mlp, vit_lite
from closer_tf.nn.ensemble import build_ensemble
from closer_tf.nn.objectives import CLoSeRLoss
from closer_tf.nn.optimizers import Nadam
from closer_tf.training import experiment

ENCODERS = {
    "mlp": lambda i, shape: mlp(shape, [16, 12], 8, dropout=0.0, init_seed=i),
    "vit_lite": lambda i, shape: vit_lite(shape, 8, heads=2, key_dim=4, mlp_dim=12, dropout=0.0, init_seed=i),
}


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(3).integers(0, 17, (64, 8, 8, 1)).astype("uint8")


def ensemble(kind, xla=False, **loss):
    model = build_ensemble((8, 8, 1), random_patch_masks((8, 8), 4, 0.2, 2, seed=1), ENCODERS[kind], 1 / 16)
    model.compile(Nadam(), CLoSeRLoss(4.0, **loss), jit_compile=xla)
    return model


def one_step(model, images):
    """Loss and gradients of one batch, the way `fit` compiles them."""
    import tensorflow as tf

    @tf.function(jit_compile=model.jit_compile)
    def step():
        with tf.GradientTape() as tape:
            loss = model.compute_loss(images, None, model(images, training=True))
        return loss, tape.gradient(loss, model.trainable_weights)

    loss, gradients = step()
    return float(loss), np.concatenate([np.ravel(gradient) for gradient in gradients])


def trained(model, images):
    model.fit(images, batch_size=32, epochs=10, shuffle=False, verbose=0)
    return np.concatenate([np.ravel(weight) for weight in model.get_weights()])


PATHS = {
    "xla": {"xla": True},
    "blocks": {"max_memory_mb": 0.05},
    "ring": {"graph": graphs.bidirectional_ring(4), "stop_gradient": True},
}


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("path", ["xla", "blocks"])
def test_one_step_in_float32(images, kind, path):
    loss, gradient = one_step(ensemble(kind), images)
    other_loss, other = one_step(ensemble(kind, **PATHS[path]), images)
    assert other_loss == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(other, gradient, atol=1e-5 * np.abs(gradient).max())


@pytest.mark.parametrize("kind", ["mlp", pytest.param("vit_lite", marks=pytest.mark.slow)])
@pytest.mark.parametrize("path", ["xla", "blocks"])
def test_twenty_steps_in_float64(images, double, kind, path):
    plain, other = trained(ensemble(kind), images), trained(ensemble(kind, **PATHS[path]), images)
    start = np.concatenate([np.ravel(weight) for weight in ensemble(kind).get_weights()])
    assert np.abs(plain - start).max() > 1e-3
    np.testing.assert_allclose(other, plain, atol=1e-9)


def test_twenty_steps_over_edges_or_all_pairs(images, double, monkeypatch):
    by_edges = trained(ensemble("mlp", **PATHS["ring"]), images)
    monkeypatch.setattr("closer_tf.nn.objectives.DENSE_FROM_DENSITY", 0.0)
    np.testing.assert_allclose(trained(ensemble("mlp", **PATHS["ring"]), images), by_edges, atol=1e-9)


def config_model(tiny_config, **compute):
    config = parse_config({**tiny_config, "augmentation": {}, "compute": compute}).resolved()
    data = load_data("digits")
    fields = experiment.make_receptive_fields(config, data)
    model = experiment.make_training_model(config, experiment.make_ensemble(config, fields, data), 10)
    return model, data.train.inputs[:256]


def test_bfloat16_keeps_weights_and_embeddings_in_float32(tiny_config):
    plain, images = config_model(tiny_config)
    rounded, _ = config_model(tiny_config, precision="bfloat16")
    assert {weight.dtype for weight in rounded.trainable_weights} == {"float32"}
    assert rounded.encoders[0].layers[-1].compute_dtype == "bfloat16"
    expected, found = plain.predict(images, verbose=0), rounded.predict(images, verbose=0)
    assert found.dtype == np.float32 and 0 < np.abs(found - expected).max() < 0.03 * np.abs(expected).max()
    loss = rounded.fit(images, verbose=0).history["loss"][0]
    assert loss == pytest.approx(plain.fit(images, verbose=0).history["loss"][0], rel=1e-2)
    assert keras.config.dtype_policy().name == "float32"


def test_xla_is_one_key_away(tiny_config):
    model, images = config_model(tiny_config, xla=True)
    assert model.jit_compile is True and np.isfinite(model.fit(images, verbose=0).history["loss"][0])


def test_xla_and_augmentation_exclude_each_other(tiny_config):
    from closer_tf.errors import ConfigError

    with pytest.raises(ConfigError, match="compute.xla: XLA cannot compile"):
        parse_config({**tiny_config, "compute": {"xla": True}})
