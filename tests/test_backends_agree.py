"""TensorFlow and JAX train alike: fifty steps in float64, without chance, from weights that a file holds.

`python tests/test_backends_agree.py` writes the file: weights before and after, as the backend in use finds them (committed:
those of TensorFlow 2.17).
"""

import contextlib
from pathlib import Path

import keras
import numpy as np
import pytest

FILE = Path(__file__).with_name("fifty_steps.npz")
CONTENT = {
    "num_encoders": 3,
    "masks": {"scheme": "gaussian", "fraction": 0.25},
    "encoder": {"type": "mlp", "hidden": [12, 8], "embedding_dim": 4, "dropout": 0.0},
    "objective": {"graph": {"family": "bidirectional_ring"}, "stop_gradient": True},
}


def made(condition):
    """A compiled model in float64, and its batches."""
    from closer_tf.config import parse_config
    from closer_tf.data.streams import batches
    from closer_tf.training import experiment

    config = parse_config({**CONTENT, "condition": condition}).resolved()
    data = experiment.load_splits(config)
    fields = experiment.make_receptive_fields(config, data)
    experiment._precision = lambda name: contextlib.nullcontext()
    model = experiment.make_training_model(config, experiment.make_ensemble(config, fields, data), len(data.label_names))
    return model, batches(data.train, 128, seed=0)


def weights_of(model):
    return np.concatenate([np.asarray(weight).ravel() for weight in model.trainable_variables])


def fifty_steps(model, stream):
    for _ in range(50):
        model.train_on_batch(*next(stream))


@pytest.mark.jax
@pytest.mark.parametrize("condition", ["closer", "supervised"])
def test_fifty_steps(double, monkeypatch, condition):
    from closer_tf.training import experiment

    monkeypatch.setattr(experiment, "_precision", experiment._precision)  # put back afterwards
    with _wide():
        stored = np.load(FILE)
        model, stream = made(condition)
        start, first = stored[f"{condition}_before"], 0
        for weight in model.trainable_variables:
            count = int(np.prod(weight.shape))
            weight.assign(start[first : first + count].reshape(weight.shape))
            first += count
        assert first == len(start)
        fifty_steps(model, stream)
        moved = np.abs(stored[f"{condition}_after"] - start)
        assert moved.max() > 0.03
        np.testing.assert_allclose(weights_of(model), stored[f"{condition}_after"], rtol=0, atol=1e-9)


@contextlib.contextmanager
def _wide():
    """Context in which JAX, too, computes in float64."""
    if keras.backend.backend() != "jax":
        yield
        return
    import jax

    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)


if __name__ == "__main__":
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    found = {}
    with _wide():
        for name in ("closer", "supervised"):
            trained, steps = made(name)
            found[f"{name}_before"] = weights_of(trained)
            fifty_steps(trained, steps)
            found[f"{name}_after"] = weights_of(trained)
    np.savez_compressed(FILE, **found)
