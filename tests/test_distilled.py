"""Self-distillation: the loss against plain loops, what gets no gradient, moving averages, both forms trained and resumed."""

import keras
import numpy as np
import pytest
from gradients import value_and_gradient

from closer_tf import graphs
from closer_tf.config import parse_config
from closer_tf.data import load_data
from closer_tf.errors import ConfigError
from closer_tf.masks import gaussian_masks
from closer_tf.nn.distilled import DistilledLoss
from closer_tf.nn.encoders import mlp
from closer_tf.nn.ensemble import build_ensemble
from closer_tf.nn.optimizers import Nadam
from closer_tf.train import train_run
from closer_tf.training.checkpoints import checkpoint_files, load_checkpoint
from closer_tf.training.experiment import make_objective
from closer_tf.training.runs import RunFolder


def loops(predictions, targets, graph):
    """The equation, sample by sample and edge by edge, in float64."""
    predictions, targets = (np.asarray(values, dtype=np.float64) for values in (predictions, targets))
    total = 0.0
    for (i, j), weight in zip(graph.edges, graph.weights):
        for b in range(len(predictions)):
            h, t = predictions[b, i], targets[b, j]
            total += weight * (2 - 2 * h @ t / (np.linalg.norm(h) * np.linalg.norm(t))) / len(predictions)
    return total


def slopes(function, point, step=1e-6):
    point, found = np.array(point, dtype=np.float64), np.zeros(point.shape)
    for index in np.ndindex(point.shape):
        above, below = point.copy(), point.copy()
        above[index] += step
        below[index] -= step
        found[index] = (function(above) - function(below)) / (2 * step)
    return found


def numbers(*shape, seed=0, offset=0.0):
    return (np.random.default_rng(seed).normal(size=shape) + offset).astype(np.float32)


@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("batch, encoders", [(7, 2), (5, 3), (3, 10)])
@pytest.mark.parametrize("averages", [True, False])
def test_it_equals_the_loops(batch, encoders, averages, offset):
    graph = graphs.directional_ring(encoders).per_target()
    said, predictions = numbers(batch, encoders, 3, offset=offset), numbers(batch, encoders, 3, seed=1, offset=offset)
    targets = numbers(batch, encoders, 3, seed=2, offset=offset) if averages else said
    loss = DistilledLoss(graph, momentum=0.9 if averages else None)

    def of(predictions):
        outputs = {"embeddings": said, "predictions": predictions, **({"targets": targets} if averages else {})}
        return loss.terms(outputs)["loss"]

    value, gradient = value_and_gradient(of, predictions)
    assert value == pytest.approx(loops(predictions, targets, graph), abs=2e-6)
    expected = slopes(lambda x: loops(x, targets, graph), predictions)
    np.testing.assert_allclose(gradient, expected, atol=1e-5 * np.abs(expected).max() + 1e-6)


@pytest.mark.parametrize("name", ["embeddings", "targets"])
def test_what_is_predicted_gets_no_gradient(name):
    outputs = {key: numbers(4, 3, 5, seed=k) for k, key in enumerate(("embeddings", "predictions", "targets"))}
    if name == "embeddings":
        del outputs["targets"]
    _, gradient = value_and_gradient(
        lambda x: DistilledLoss().terms(outputs | {name: x})["loss"] + 0 * keras.ops.sum(x), outputs[name]
    )
    assert np.all(gradient == 0)


def test_the_loss_of_a_batch_is_the_mean_over_its_samples():
    outputs = {key: numbers(6, 3, 5, seed=k) for k, key in enumerate(("embeddings", "predictions"))}
    loss = DistilledLoss(graphs.star(3))
    each = [float(loss.terms({key: x[b : b + 1] for key, x in outputs.items()})["loss"]) for b in range(6)]
    assert float(loss.terms(outputs)["loss"]) == pytest.approx(np.mean(each), rel=1e-6)


def test_zero_vectors_have_a_gradient():
    zero = np.zeros((2, 2, 3), np.float32)
    value, gradient = value_and_gradient(lambda x: DistilledLoss().terms({"embeddings": zero, "predictions": x})["loss"], zero)
    assert value == 2 and np.isfinite(gradient).all()


def ensemble_of():
    fields = gaussian_masks((8, 8), 3, 0.25, seed=1)
    return build_ensemble((8, 8, 1), fields, lambda i, shape: mlp(shape, (6,), 4, 0.2, init_seed=i, dropout_seed=i), 1 / 16)


@pytest.fixture(scope="module")
def images():
    return load_data("digits").train.inputs[:40]


def test_moving_averages_follow_each_step(images):
    ensemble = ensemble_of()
    loss = DistilledLoss(momentum=0.75)
    model = loss.training_model(ensemble, seed=2)
    model.compile(Nadam(0.05), loss)
    averages = [weight.copy() for encoder in ensemble.encoders for weight in encoder.get_weights()]
    for _step in range(3):
        model.fit(images[:8], batch_size=8, shuffle=False, verbose=0)
        now = [weight for encoder in ensemble.encoders for weight in encoder.get_weights()]
        averages = [np.float32(0.75) * average + np.float32(0.25) * weight for average, weight in zip(averages, now)]
    found = [weight for i in range(3) for weight in model.get_layer(f"target_{i}").get_weights()]
    for one, other in zip(found, averages, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
    assert not any(weight.trainable for i in range(3) for weight in model.get_layer(f"target_{i}").weights)


@pytest.mark.parametrize("momentum", [None, 0.9])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_small_batches_train_and_predictors_stay_outside_the_ensemble(images, tmp_path, momentum, batch_norm):
    ensemble = ensemble_of()
    before = len(ensemble.weights), ensemble.get_weights()[0].copy()
    loss = DistilledLoss(momentum=momentum, hidden=5, batch_norm=batch_norm)
    model = loss.training_model(ensemble, seed=2)
    model.compile(Nadam(0.01), loss)
    if batch_norm:
        with pytest.raises(ValueError, match="batch_size: expected a whole number of at least 2"):
            model.fit(images[:2], batch_size=1, verbose=0)
    model.fit(images[:4], batch_size=2 if batch_norm else 1, verbose=0)
    assert np.any(ensemble.get_weights()[0] != before[1])
    ensemble.save(tmp_path / "ensemble.keras")
    again = keras.saving.load_model(tmp_path / "ensemble.keras")
    assert len(again.weights) == before[0] and again.output_shape == (None, 3, 4)
    np.testing.assert_array_equal(again.predict(images, verbose=0), ensemble.predict(images, verbose=0))
    model.save(tmp_path / "whole.keras")
    whole = keras.saving.load_model(tmp_path / "whole.keras")
    for one, other in zip(whole.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_estimator_takes_it(images):
    from closer_tf import CLoSeRTransformer

    estimator = CLoSeRTransformer(3, 4, (6,), epochs=1, batch_size=16, random_state=0, objective=DistilledLoss(momentum=0.9))
    embedded = estimator.fit(images).transform(images)
    assert embedded.shape == (40, 12) and estimator.history_["similarity"]
    assert not [layer.name for layer in estimator.ensemble_.layers if layer.name.startswith(("predictor", "target"))]


def config_of(**objective):
    return {
        "condition": "distilled",
        "num_encoders": 3,
        "masks": {"scheme": "gaussian", "fraction": 0.25},
        "encoder": {"type": "mlp", "hidden": [8], "embedding_dim": 4, "dropout": 0.2},
        "objective": objective,
        "training": {"epochs": 2, "batch_size": 256},
        "readout": {"C": [0.1], "max_iter": 20, "conditions": [], "pseudo_likelihood_draws": 1},
    }


def test_a_config_makes_it():
    loss = make_objective(parse_config(config_of(momentum=0.99, predictor={"hidden": 7, "batch_norm": True})).resolved())
    assert (loss.momentum, loss.hidden, loss.batch_norm, loss.graph.num_edges) == (0.99, 7, True, 6)
    for content, says in (
        (config_of(momentum=0.9) | {"condition": "closer"}, "objective.momentum: no part of 'closer'"),
        (config_of(momentum=1.0), "objective.momentum: expected less than 1"),
        (config_of(momentum=0.9) | {"compute": {"distribution": "mirrored"}}, "objective.momentum: moving averages"),
    ):
        with pytest.raises(ConfigError, match=says):
            parse_config(content)


@pytest.mark.slow
@pytest.mark.parametrize("momentum", [None, 0.9])
def test_a_run_that_was_stopped_goes_on_to_the_bit(tmp_path, momentum):
    config = config_of(momentum=momentum)
    whole = train_run(config, tmp_path / "whole")
    stop = keras.callbacks.LambdaCallback(on_train_batch_end=lambda step, logs: setattr(stop.model, "stop_training", step == 2))
    config["compute"] = {"steps_per_execution": 1}
    train_run(config, tmp_path / "parts", callbacks=[stop])
    parts = train_run(config, tmp_path / "parts")
    assert parts["accuracy"] == whole["accuracy"]
    one, other = (load_checkpoint(checkpoint_files(tmp_path / name / "checkpoints")[0]).arrays for name in ("whole", "parts"))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)
    ensemble = RunFolder(tmp_path / "whole").load_ensemble()
    assert not [layer.name for layer in ensemble.layers if layer.name.startswith(("predictor", "target"))]
