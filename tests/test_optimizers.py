import keras
import numpy as np
import pytest
import reference

from closer_tf.nn.optimizers import Nadam


def run(optimizer, gradients, start):
    variables = [keras.Variable(start), keras.Variable(start[:2])]
    positions = []
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient), keras.ops.convert_to_tensor(gradient[:2])], variables)
        positions.append(variables[0].numpy())
    np.testing.assert_array_equal(variables[1].numpy(), positions[-1][:2])
    return positions


@pytest.mark.parametrize(
    "options",
    [{}, {"schedule_decay": 1.0}, {"learning_rate": 0.05, "beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-3}],
)
def test_one_hundred_steps_by_hand(options):
    rng = np.random.default_rng(0)
    start = rng.normal(size=5).astype(np.float32)
    gradients = (rng.normal(size=(100, 5)) * [1, 10, 0.01, 1e-4, 0.0]).astype(np.float32)
    names = {"schedule_decay": "decay"}
    expected = reference.nadam_2_6(gradients, start, **{names.get(key, key): value for key, value in options.items()})
    found = run(Nadam(**options), gradients, start)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_schedule_matters():
    gradients = np.random.default_rng(1).normal(size=(100, 5)).astype(np.float32) + 0.5
    start = np.zeros(5, np.float32)
    ours, fast = run(Nadam(), gradients, start), run(Nadam(schedule_decay=1.0), gradients, start)
    assert np.abs(ours[-1] - fast[-1]).max() > 1e-3


def test_schedule_decay_of_one_is_keras_own_nadam():
    gradients = np.random.default_rng(2).normal(size=(50, 5)).astype(np.float32)
    start = np.zeros(5, np.float32)
    ours, theirs = run(Nadam(schedule_decay=1.0), gradients, start), run(keras.optimizers.Nadam(), gradients, start)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_gradients_k_times_as_large_are_an_epsilon_k_times_smaller():
    """What docs/differences.md says of the sum over k edges, which is published for random graphs."""
    gradients = np.random.default_rng(4).normal(size=(50, 5)).astype(np.float32) * 1e-8
    start = np.zeros(5, np.float32)
    summed, mean = run(Nadam(), 20 * gradients, start), run(Nadam(), gradients, start)
    np.testing.assert_allclose(run(Nadam(epsilon=1e-7 / 20), gradients, start), summed, rtol=1e-4, atol=1e-9)
    assert np.abs(summed[-1]).mean() > 5 * np.abs(mean[-1]).mean()  # gradients below epsilon: it matters


def test_serialisation_keeps_every_setting():
    optimizer = Nadam(learning_rate=0.01, beta_1=0.8, beta_2=0.9, epsilon=1e-5, schedule_decay=0.1)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert again.get_config() == optimizer.get_config()


@pytest.mark.tensorflow
def test_tensorflows_kernels_agree_with_the_formula(monkeypatch):
    rng = np.random.default_rng(3)
    gradients = (rng.normal(size=(100, 5)) * [1, 10, 0.01, 1e-4, 0.0]).astype(np.float32)
    start = rng.normal(size=5).astype(np.float32)
    kernels = run(Nadam(), gradients, start)
    monkeypatch.setattr("closer_tf.nn.optimizers.keras.backend.backend", lambda: "another")
    formula = run(Nadam(), gradients, start)
    np.testing.assert_allclose(kernels, formula, rtol=1e-6, atol=1e-7)
