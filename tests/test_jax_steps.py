"""Under JAX, many steps in one compiled call are the steps of `fit`, and a run goes on from any of its calls."""

import contextlib
import os
import re
import signal

import keras
import numpy as np
import pytest

if keras.backend.backend() != "jax":
    pytest.skip("needs KERAS_BACKEND=jax", allow_module_level=True)

import jax

from closer_tf.common.backend import products_in
from closer_tf.common.command import Interrupted
from closer_tf.config import parse_config
from closer_tf.data.splits import Split, steps_per_epoch
from closer_tf.data.streams import batches
from closer_tf.errors import DivergedError
from closer_tf.nn.fused_model import FusedEnsembles, can_be_fused
from closer_tf.nn.jax import CompiledSteps
from closer_tf.training import experiment
from closer_tf.training.checkpoints import checkpoint_files, latest_checkpoint, load_checkpoint
from closer_tf.training.loop import run_fused_training, run_training
from closer_tf.training.runs import RunFolder

pytestmark = pytest.mark.jax

CONTENT = {
    "num_encoders": 3,
    "augmentation": {"horizontal_flip": True, "rotation": 0.02, "zoom": 0.2},
    "masks": {"scheme": "gaussian", "fraction": 0.25},
    "encoder": {"type": "mlp", "hidden": [16, 8], "embedding_dim": 4, "dropout": 0.2},
    "training": {"epochs": 3, "batch_size": 300, "keep_checkpoints": 20},
}
VIT = {"type": "vit_lite", "embedding_dim": 8, "heads": 2, "key_dim": 4, "mlp_dim": 8, "dropout": 0.2}
CELLS = {"scheme": "random_patches", "fraction": 0.5, "patch_size": 2}
NEURONS = {
    "condition": "tcloser",
    "num_encoders": 6,
    "dataset": {"name": "simulated"},
    "augmentation": {},
    "masks": {"scheme": "areas"},
    "encoder": {"type": "mlp", "hidden": [8], "embedding_dim": 4, "dropout": 0.1, "l1": 5e-6, "l2": 5e-6},
}
CASES = {
    "mlp": {},
    "supervised": {"condition": "supervised"},
    "transformers on a star": {
        "encoder": VIT,
        "masks": CELLS,
        "objective": {"graph": {"family": "star", "weighting": "per_target"}, "stop_gradient": True},
    },
    "random graphs": {"objective": {"graph": {"family": "random", "num_edges": 4}, "stop_gradient": True}},
    "temporal": NEURONS,
}


CLOSE = {
    "transformers on a star": {"rtol": 1e-5, "atol": 1e-6}
}  # layers are normalised in float32; Nadam divides by small gradients
SAME = {"rtol": 1e-12, "atol": 1e-12}


def slow(*arguments):
    return pytest.param(*arguments, marks=pytest.mark.slow)


SEPARATELY = ["random graphs", *(slow(case) for case in CASES if case != "random graphs")]


@pytest.fixture
def double(double, monkeypatch):
    """Everything in float64, also models of configs, which know float32 at most."""
    monkeypatch.setattr(experiment, "_precision", lambda name: contextlib.nullcontext())
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def made(seeds=(0,), **changes):
    """Configs, data and compiled models of some seeds."""
    configs = [parse_config({**CONTENT, **changes, "seed": seed}).resolved() for seed in seeds]
    data = [experiment.load_splits(config) for config in configs]
    fields = [experiment.make_receptive_fields(*both) for both in zip(configs, data)]
    models = [
        experiment.make_training_model(config, experiment.make_ensemble(config, field, splits), len(splits.label_names))
        for config, field, splits in zip(configs, fields, data)
    ]
    return configs, data, fields, models


def compiled(configs, data, model, at_once=None):
    splits = [each.train for each in data], [each.validation for each in data]
    seeds = [config.seeds.data_order for config in configs]
    return CompiledSteps(model, *splits, configs[0].training.batch_size, seeds, at_once)


def narrow(split):
    """With labels as `fit` takes them under JAX without a warning."""
    return Split(split.inputs, split.labels.astype("int32"))


def by_fit(configs, data, model, epochs):
    """Train by Keras's own `fit`, batch by batch; returns the history."""
    size = configs[0].training.batch_size
    train, validation = ([narrow(split) for split in of] for of in zip(*((each.train, each.validation) for each in data)))
    streams = [batches(split, size, config.seeds.data_order) for split, config in zip(train, configs)]
    validation = (validation[0].inputs, validation[0].labels)
    if len(streams) == 1:
        stream = streams[0]
    else:
        stream = (tuple(np.stack(parts) for parts in zip(*each)) for each in zip(*streams))
        validation = None
    steps = steps_per_epoch(len(data[0].train), size)
    options = {"validation_data": validation, "validation_batch_size": size, "shuffle": False, "verbose": 0}
    return model.fit(stream, epochs=epochs, steps_per_epoch=steps, **options).history


def state_of(model):
    return [np.asarray(variable) for variable in (*model.variables, *model.optimizer.variables)]


class Logs(keras.callbacks.Callback):
    """Keeps the logs of epochs and how many calls there were."""

    def __init__(self):
        super().__init__()
        self.epochs, self.ends = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.ends.append(batch)

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(logs)


@pytest.mark.parametrize(
    "case, at_once",
    [
        ("mlp", None),
        ("mlp", 2),
        slow("mlp", 1),
        slow("supervised", None),
        slow("transformers on a star", None),
        slow("temporal", None),
    ],
)
def test_compiled_steps_are_those_of_fit(double, case, at_once):
    configs, data, _, (expected,) = made(**CASES[case])
    history = by_fit(configs, data, expected, epochs=3)
    configs, data, _, (model,) = made(**CASES[case])
    start, logs, close = state_of(model), Logs(), CLOSE.get(case, SAME)
    steps = compiled(configs, data, model, at_once)
    assert len(data[0].train) % configs[0].training.batch_size, "the last batch is to be a partial one"
    steps.fit(0, 3, [logs])
    assert max(np.abs(one - other).max() for one, other in zip(state_of(model), start)) > 1e-3
    for one, other, variable in zip(state_of(model), state_of(expected), (*model.variables, *model.optimizer.variables)):
        np.testing.assert_allclose(one, other, **close, err_msg=variable.path)
    for name, values in history.items():
        np.testing.assert_allclose([row[name] for row in logs.epochs], values, **close, err_msg=name)
    assert steps.steps == 5 or case == "temporal"
    assert logs.ends == 3 * {None: [steps.steps - 1], 1: [0, 1, 2, 3, 4], 2: [1, 3, 4]}[at_once]


@pytest.mark.parametrize("case", ["mlp", *(slow(case) for case in list(CASES)[1:])])
def test_fused_compiled_steps_are_those_of_fit(double, case):
    configs, data, _, models = made((0, 1), **CASES[case])
    expected = FusedEnsembles(models)
    by_fit(configs, data, expected, epochs=2)
    expected.scatter()
    configs, data, _, again = made((0, 1), **CASES[case])
    fused = FusedEnsembles(again)
    compiled(configs, data, fused).fit(0, 2)
    fused.scatter()
    for model, other in zip(again, models):
        for one, two, variable in zip(state_of(model), state_of(other), (*model.variables, *model.optimizer.variables)):
            if variable.path.split("/")[0] not in [metric.name for metric in model.metrics]:
                np.testing.assert_allclose(one, two, rtol=1e-12, atol=1e-12, err_msg=variable.path)


@pytest.mark.parametrize("case", SEPARATELY)
def test_fused_runs_are_the_separate_ones(double, case):
    configs, data, _, apart = made((0, 1), **CASES[case])
    for config, splits, model in zip(configs, data, apart):
        compiled([config], [splits], model).fit(0, 2)
    configs, data, _, models = made((0, 1), **CASES[case])
    fused, logs = FusedEnsembles(models), Logs()
    compiled(configs, data, fused).fit(0, 2, [logs])
    fused.scatter()
    for model, other in zip(models, apart):
        for one, two, variable in zip(state_of(model), state_of(other), (*model.variables, *model.optimizer.variables)):
            np.testing.assert_allclose(one, two, **CLOSE.get(case, {"rtol": 1e-6, "atol": 1e-9}), err_msg=variable.path)


def test_in_float32_too():
    configs, data, _, (expected,) = made()
    by_fit(configs, data, expected, epochs=1)
    configs, data, _, (model,) = made()
    compiled(configs, data, model).fit(0, 1)
    for one, other in zip(state_of(model), state_of(expected)):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_what_cannot_be_stacked_is_computed_encoder_by_encoder(double):
    configs, data, _, (expected,) = made()
    expected.optimizer.clipnorm = 1e-3  # of each weight, which would not be that of a stacked one
    by_fit(configs, data, expected, epochs=1)
    configs, data, _, (model,) = made()
    assert can_be_fused(model)
    model.optimizer.clipnorm = 1e-3
    assert not can_be_fused(model)
    steps = compiled(configs, data, model)
    assert steps.computed is model
    steps.fit(0, 1)
    for one, other in zip(state_of(model), state_of(expected)):
        np.testing.assert_allclose(one, other, **SAME)


class NoSteps(keras.callbacks.Callback):
    """From the second epoch on, the learning rate is zero."""

    def on_epoch_begin(self, epoch, logs=None):
        self.before = [np.asarray(weight) for weight in self._model.trainable_variables]
        self._model.optimizer.learning_rate = 0.0 if epoch else 1e-3


def test_callbacks_set_the_learning_rate():
    configs, data, _, (model,) = made()
    watched = NoSteps()
    compiled(configs, data, model).fit(0, 2, [watched])
    for weight, before in zip(model.trainable_variables, watched.before):
        np.testing.assert_array_equal(weight, before)
        assert np.abs(before).max() > 0 or "bias" in weight.path


class StopAfter(keras.callbacks.Callback):
    """Asks the process to stop at one call of one epoch."""

    def __init__(self, epoch, call):
        super().__init__()
        self.place = epoch, call

    def on_epoch_begin(self, epoch, logs=None):
        self.now, self.calls = epoch, 0

    def on_train_batch_begin(self, batch, logs=None):
        if (self.now, self.calls) == self.place:
            os.kill(os.getpid(), signal.SIGINT)
        self.calls += 1


def train(folder, callbacks=(), **changes):
    (config,), (data,), (fields,), (model,) = made(**changes)
    run = RunFolder(folder)
    with run.opened(config, fields):
        run_training(model, data, config, run, latest_checkpoint(run.checkpoints, run.digests(config)), callbacks)
    return run


def last_state(run):
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in run.read_history()]
    return load_checkpoint(checkpoint_files(run.checkpoints)[0]).arrays, rows


def assert_same(run, expected):
    (arrays, rows), (others, expected_rows) = last_state(run), last_state(expected)
    assert rows == expected_rows and len(arrays) == len(others)
    for one, other in zip(arrays, others):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("at_once, epoch, call", [(None, 1, 0), (2, 1, 1), slow(None, 0, 0), slow(2, 1, 2), slow(1, 2, 3)])
def test_stopped_anywhere_and_continued_to_the_bit(tmp_path, at_once, epoch, call):
    compute = {"steps_per_execution": at_once}
    expected = train(tmp_path / "whole", compute=compute)
    with pytest.raises(Interrupted):
        train(tmp_path / "run", [StopAfter(epoch, call)], compute=compute)
    moment = load_checkpoint(checkpoint_files(tmp_path / "run" / "checkpoints")[0])
    done = 5 if at_once is None else (call + 1) * at_once  # the last call of an epoch is followed by its end
    assert (moment.epoch, moment.step) == ((epoch + 1, 0) if done >= 5 else (epoch, done))
    assert_same(train(tmp_path / "run", compute=compute), expected)


def train_fused(folder, callbacks=()):
    configs, data, fields, models = made((0, 1), compute={"steps_per_execution": 2})
    runs = [RunFolder(folder / f"seed_{seed}") for seed in (0, 1)]
    with contextlib.ExitStack() as held:
        for run, config, field in zip(runs, configs, fields):
            held.enter_context(run.opened(config, field))
        found = [latest_checkpoint(run.checkpoints, run.digests(config)) for run, config in zip(runs, configs)]
        assert run_fused_training(models, data, configs, runs, found, callbacks) == {}
    return runs


def test_fused_runs_stopped_and_continued_to_the_bit(tmp_path):
    expected = train_fused(tmp_path / "whole")
    with pytest.raises(Interrupted):
        train_fused(tmp_path / "runs", [StopAfter(1, 1)])
    for run, other in zip(train_fused(tmp_path / "runs"), expected):
        assert_same(run, other)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    with pytest.raises(DivergedError, match="not finite any more"):
        train(tmp_path / "run", optimizer={"learning_rate": 1e30})
    assert RunFolder(tmp_path / "run").changes()[-1]["event"] == "not finite"


class Watched:
    """NumPy, which notes what is made an array of it."""

    def __init__(self):
        self.fetched = []

    def __getattr__(self, name):
        return getattr(np, name)

    def asarray(self, values):
        self.fetched.append(values)
        return np.asarray(values)


def test_no_more_than_one_transfer_a_call(monkeypatch):
    configs, data, _, (model,) = made()
    steps, watched = compiled(configs, data, model), Watched()
    monkeypatch.setattr("closer_tf.nn.jax.np", watched)
    steps.fit(0, 2)
    assert [values.shape for values in watched.fetched] == 4 * [(5,)]  # training and validation of two epochs


def precisions(function, *arguments):
    """The precisions of all matrix products of a function, as JAX traces it."""
    return set(re.findall(r"precision=\(?(\S+?)[,\s]", str(jax.make_jaxpr(function)(*arguments))))


@pytest.mark.parametrize("precision", ["float32", "tensorfloat32"])
def test_products_of_the_encoders_alone_may_be_rounded(precision):
    _, data, _, (model,) = made(compute={"precision": precision})
    images = np.asarray(data[0].train.inputs[:8], "float32")
    with products_in(precision):
        of_encoders = precisions(lambda x: model(x, training=False), images)
        of_loss = precisions(lambda x: model.compute_loss(x, None, x), np.zeros((8, 3, 4), "float32"))
        of_augmentation = precisions(lambda x: model.get_layer("augmentation")(x, training=True), images)
    assert of_loss == of_augmentation == {"Precision.HIGHEST"}
    assert of_encoders == {"float32": {"Precision.HIGHEST"}, "tensorfloat32": {"Precision.HIGH"}}[precision]


class StopAtOnce(keras.callbacks.Callback):
    """Asks the training to stop when the first call is done."""

    def on_train_batch_end(self, batch, logs=None):
        self._model.stop_training = True


def test_a_stop_after_the_last_call_of_an_epoch_leaves_it_whole(tmp_path):
    run = train(tmp_path / "run", [StopAtOnce()])
    (row,) = run.read_history()
    assert row["epoch"] == 1 and np.isfinite(row["val_loss"])
