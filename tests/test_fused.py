"""Trainings in one are the separate trainings."""

import contextlib

import keras
import numpy as np
import pytest

from closer_tf.config import parse_config
from closer_tf.data import load_data
from closer_tf.data.streams import batches
from closer_tf.masks import gaussian_masks
from closer_tf.nn.ensemble import build_ensemble
from closer_tf.nn.fused_model import FusedEnsembles
from closer_tf.nn.layers import Dropout
from closer_tf.nn.objectives import CLoSeRLoss
from closer_tf.nn.optimizers import Nadam
from closer_tf.training import experiment

MLP = {"type": "mlp", "hidden": [16, 12], "embedding_dim": 8, "dropout": 0.0}
VIT = {"type": "vit_lite", "embedding_dim": 8, "heads": 2, "key_dim": 4, "mlp_dim": 12, "dropout": 0.0}
CELLS = {"scheme": "random_patches", "fraction": 0.25, "patch_size": 2}
RANDOM = {"graph": {"family": "random", "num_edges": 5}, "temperature": 4.0, "stop_gradient": True}
AUGMENTED = {"horizontal_flip": True, "rotation": 0.05, "zoom": 0.1}
NEURONS = {
    "condition": "tcloser",
    "num_encoders": 6,
    "dataset": {"name": "simulated"},
    "masks": {"scheme": "areas"},
    "encoder": {**MLP, "dropout": 0.1, "l1": 5e-6, "l2": 5e-6},
}
PAIR = {"graph": {"family": "custom", "edges": [[0, 1], [1, 0]]}, "stop_gradient": True}
CASES = {  # name -> (keys of the config, stack)
    "mlp": ({"encoder": MLP}, True),
    "mlp, one by one": ({"encoder": MLP}, False),
    "vit": ({"encoder": VIT, "masks": CELLS}, True),
    "random graphs": ({"encoder": MLP, "objective": RANDOM}, True),
    "supervised": ({"encoder": MLP, "condition": "supervised"}, True),
    "penalties": ({"encoder": {**MLP, "l1": 1e-3, "l2": 1e-3}}, True),
    "penalties, one at rest": ({"encoder": {**MLP, "l1": 1e-3, "l2": 1e-3}, "objective": PAIR}, True),
    "two architectures": ({"encoders": [MLP, {**MLP, "hidden": [9]}, MLP]}, True),
    "temporal": (NEURONS, True),
    "chance": ({"encoder": {**MLP, "dropout": 0.3}, "augmentation": AUGMENTED}, True),
    "chance, vit": ({"encoder": {**VIT, "dropout": 0.3}, "masks": CELLS, "augmentation": AUGMENTED}, True),
}


SLOW = ("chance, vit", "penalties, one at rest", "random graphs", "supervised", "two architectures", "temporal")


def slow(case):
    return pytest.param(case, marks=pytest.mark.slow)


@pytest.fixture
def double(double, monkeypatch):
    """Also for models of configs, which know float32 at most."""
    monkeypatch.setattr(experiment, "_precision", lambda name: contextlib.nullcontext())


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


def models_of(digits, seeds=(0, 1, 2), **changes):
    """Compiled ensembles of one config under several seeds, and the batches of each."""
    models, streams = [], []
    for seed in seeds:
        content = {"seed": seed, "num_encoders": 3, "dataset": {"name": "digits"}, "training": {"batch_size": 32}, **changes}
        config = parse_config(content).resolved()
        data = digits if config.dataset.name == "digits" else experiment.load_splits(config)
        fields = experiment.make_receptive_fields(config, data)
        ensemble = experiment.make_ensemble(config, fields, data)
        models.append(experiment.make_training_model(config, ensemble, 10))
        streams.append(batches(data.train, 32, config.seeds.data_order))
    return models, streams


def weights_of(models):
    return np.stack([np.concatenate([np.ravel(weight) for weight in model.trainable_variables]) for model in models])


def train_both(digits, steps, stack, **changes):
    """Weights (runs, all) after training apart and in one, at the start, and both kinds of logs."""
    models, streams = models_of(digits, **changes)
    start = weights_of(models)
    apart, streams_again = models_of(digits, **changes)
    logs = [None] * len(apart)
    for s, (model, stream) in enumerate(zip(apart, streams_again)):
        for _ in range(steps):
            logs[s] = model.train_on_batch(*next(stream), return_dict=True)
    fused = FusedEnsembles(models, stack=stack)
    for _ in range(steps):
        inputs, labels = zip(*(next(stream) for stream in streams))
        together = fused.train_on_batch(np.stack(inputs), np.stack(labels), return_dict=True)
    fused.scatter()
    return start, apart, models, logs, together


def check(start, apart, models, logs, together, atol):
    moved = np.abs(weights_of(apart) - start).max(axis=1)
    assert (moved > 5e-3).all()
    np.testing.assert_allclose(weights_of(models), weights_of(apart), atol=atol)
    for one, other in zip(models, apart):
        for ours, theirs in zip((*one.variables, *one.optimizer.variables), (*other.variables, *other.optimizer.variables)):
            np.testing.assert_allclose(ours, theirs, atol=atol, rtol=1e-6, err_msg=theirs.path)
    assert set(together) == set(logs[0])
    for name, values in together.items():
        np.testing.assert_allclose(values, [log[name] for log in logs], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("moves", [(False, False), (False, True), (True, False)])
def test_runs_whose_only_penalties_are_at_rest(digits, moves):
    """Encoder 2 alone has penalties, and no edge moves it in one or both of the runs."""
    models, encoders = [], [MLP, MLP, {**MLP, "l2": 1e-2}]
    for seed, moved in enumerate(moves):
        objective = {"stop_gradient": True} if moved else PAIR
        models += models_of(digits, (seed,), encoders=encoders, objective={**objective, "temperature": 4.0})[0]
    start = [model.encoders[2].get_weights() for model in models]
    fused = FusedEnsembles(models)
    inputs, labels = (np.stack([part[:32]] * 2) for part in (digits.train.inputs, digits.train.labels))
    logs = fused.train_on_batch(inputs, labels, return_dict=True)
    fused.scatter()
    for model, before, moves_it, penalty in zip(models, start, moves, logs["regularisation"]):
        moved = any(np.any(now != then) for now, then in zip(model.encoders[2].get_weights(), before))
        assert moved == moves_it and (penalty > 0) == moves_it


def own_encoder(i, shape):
    """What no encoder of the package has: a layer with moving averages, one that is frozen, one that penalises activities."""
    kernel = keras.initializers.GlorotUniform(seed=i)
    frozen = keras.layers.Dense(6, kernel_initializer=keras.initializers.GlorotUniform(seed=100 + i), trainable=False)
    layers = [
        keras.layers.Flatten(),
        keras.layers.Dense(9, kernel_initializer=kernel, activity_regularizer=keras.regularizers.L2(1e-3)),
        keras.layers.BatchNormalization(),
        frozen,
        Dropout(0.3, seed=i),
        keras.layers.Dense(8, kernel_initializer=kernel),
    ]
    inputs = x = keras.Input(shape)
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, x)


def test_encoders_of_ones_own(digits, double):
    def models():
        found = []
        for seed in (0, 1):
            fields = gaussian_masks((8, 8), 3, 0.2, seed=seed)
            model = build_ensemble((8, 8, 1), fields, lambda i, shape, seed=seed: own_encoder(10 * seed + i, shape), 1 / 16)
            model.compile(Nadam(0.01), CLoSeRLoss(8.0))
            model.optimizer.build(model.trainable_variables)
            found.append(model)
        return found

    apart, together, batch = models(), models(), digits.train.inputs[:64]
    start = weights_of(apart)
    fused = FusedEnsembles(together)
    assert len(fused.stacks) == 1
    for _ in range(3):
        logs = [model.train_on_batch(batch, return_dict=True) for model in apart]
        of_runs = fused.train_on_batch(np.stack([batch, batch]), return_dict=True)
    fused.scatter()
    assert np.abs(weights_of(apart) - start).max() > 5e-3
    for one, other in zip(together, apart):
        for ours, theirs in zip(one.variables, other.variables):
            np.testing.assert_allclose(ours, theirs, atol=1e-9, rtol=1e-6, err_msg=theirs.path)
    assert min(log["regularisation"] for log in logs) > 0
    for name, values in of_runs.items():
        np.testing.assert_allclose(values, [log[name] for log in logs], rtol=1e-6)


@pytest.mark.parametrize("case", ["mlp", slow("mlp, one by one")])
def test_a_hundred_steps_in_float64(digits, double, case):
    changes, stack = CASES[case]
    check(*train_both(digits, 100, stack, **changes), atol=1e-6)


@pytest.mark.parametrize("case", ["penalties", "chance", *map(slow, SLOW)])
def test_ten_steps_in_float64(digits, double, case):
    changes, stack = CASES[case]
    check(*train_both(digits, 10, stack, **changes), atol=1e-6)


@pytest.mark.tensorflow
@pytest.mark.parametrize("case", ["mlp", "vit", "penalties"])
def test_one_step_in_float32(digits, case):
    import tensorflow as tf

    changes, stack = CASES[case]
    models, streams = models_of(digits, **changes)
    inputs, labels = zip(*(next(stream) for stream in streams))
    fused = FusedEnsembles(models, stack=stack)

    @tf.function
    def gradient(model, stimuli):
        with tf.GradientTape() as tape:
            loss = model.compute_loss(stimuli, None, model(stimuli, training=True))
        return tape.gradient(loss, model.trainable_variables)

    together = gradient(fused, tf.constant(np.stack(inputs)))
    apart = {}
    for model, stimuli in zip(models, inputs):
        apart.update(zip(map(id, model.trainable_variables), gradient(model, tf.constant(stimuli))))
    largest = max(np.abs(values).max() for values in apart.values())
    ours = {id(weight): values for weight, values in zip(fused.trainable_variables, together)}
    for weight, own, _ in fused.pairs():
        np.testing.assert_allclose(ours[id(weight)], np.stack([apart[id(each)] for each in own]), atol=1e-5 * largest)
    assert sum(len(own) for _, own, _ in fused.pairs()) == len(apart)


def test_what_cannot_be_trained_in_one(digits):
    models, _ = models_of(digits, seeds=(0,), encoder=MLP)
    others, _ = models_of(digits, seeds=(1,), encoder={**MLP, "hidden": [9]})
    with pytest.raises(ValueError, match="encoder 0 of run 1 has another architecture"):
        FusedEnsembles([*models, *others])
    models[0].optimizer.iterations.assign(3)
    others, _ = models_of(digits, seeds=(1,), encoder=MLP)
    with pytest.raises(ValueError, match="expected trainings at the same step"):
        FusedEnsembles([*models, *others])
