"""Resuming is exact: a run stopped anywhere and continued has the weights of one that was never stopped."""

import dataclasses
import os
import signal
import time

import numpy as np
import pytest

from closer_tf.common.command import Interrupted
from closer_tf.config import parse_config
from closer_tf.data import load_data
from closer_tf.data.splits import steps_per_epoch
from closer_tf.data.streams import batches, steps_per_execution, training_stream
from closer_tf.errors import DivergedError, RunError
from closer_tf.training import experiment
from closer_tf.training.checkpoints import (
    Checkpoint,
    checkpoint_files,
    latest_checkpoint,
    load_checkpoint,
    restore_checkpoint,
    restore_weights,
    save_checkpoint,
    set_later_aside,
)
from closer_tf.training.loop import run_training
from closer_tf.training.runs import RunFolder


class StopAt:
    """A callback that asks the process to stop at one step of one epoch."""

    def __new__(cls, epoch, step, number=signal.SIGINT):
        import keras

        class Callback(keras.callbacks.Callback):
            def on_epoch_begin(self, now, logs=None):
                self.now = now

            def on_train_batch_begin(self, batch, logs=None):
                if (self.now, batch) == (epoch, step):
                    os.kill(os.getpid(), number)

        return Callback()


def train(config, folder, callbacks=(), checkpoint=None):
    data = experiment.load_splits(config)
    fields = experiment.make_receptive_fields(config, data)
    model = experiment.make_ensemble(config, fields, data)
    model = experiment.make_training_model(config, model, len(data.label_names))
    run = RunFolder(folder)
    with run.opened(config, fields):
        checkpoint = latest_checkpoint(run.checkpoints, run.digests(config))
        run_training(model, data, config, run, checkpoint, callbacks)
    return model, run


@pytest.fixture(scope="module")
def config():
    return parse_config(
        {
            "num_encoders": 3,
            "augmentation": {"horizontal_flip": True, "rotation": 0.02, "zoom": 0.2},
            "masks": {"scheme": "gaussian", "fraction": 0.25},
            "encoder": {"type": "mlp", "hidden": [8], "embedding_dim": 4, "dropout": 0.2},
            "training": {"epochs": 4, "batch_size": 400, "keep_checkpoints": 9},
        }
    ).resolved()


@pytest.fixture(scope="module")
def uninterrupted(config, tmp_path_factory):
    return train(config, tmp_path_factory.mktemp("uninterrupted") / "run")


def losses(run):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in run.read_history()]


def assert_same(found, expected):
    (model, run), (expected_model, expected_run) = found, expected
    for one, other in zip(model.get_weights(), expected_model.get_weights()):
        np.testing.assert_array_equal(one, other)
    last = [load_checkpoint(checkpoint_files(r.checkpoints)[0]).arrays for r in (run, expected_run)]
    for one, other in zip(*last):
        np.testing.assert_array_equal(one, other)
    assert losses(run) == losses(expected_run)


def test_two_runs_of_one_config_are_equal(config, uninterrupted, tmp_path):
    assert_same(train(config, tmp_path / "run"), uninterrupted)


@pytest.mark.parametrize("epoch, step", [(0, 0), (0, 3), (1, 1), (1, 3), (2, 0), (3, 2), (3, 3)])
def test_stopped_anywhere_and_continued(config, uninterrupted, tmp_path, epoch, step):
    with pytest.raises(Interrupted):
        train(config, tmp_path / "run", [StopAt(epoch, step)])
    moment = load_checkpoint(checkpoint_files(tmp_path / "run" / "checkpoints")[0])
    assert (moment.epoch, moment.step) == (epoch, step + 1)
    assert_same(train(config, tmp_path / "run"), uninterrupted)


def test_continued_from_every_epochs_checkpoint(config, uninterrupted, tmp_path):
    files = checkpoint_files(uninterrupted[1].checkpoints)
    assert len(files) == 4
    for file in files[1:]:
        run = RunFolder(tmp_path / file.stem)
        train_folder = run.path / "checkpoints"
        train_folder.mkdir(parents=True)
        (train_folder / file.name).write_bytes(file.read_bytes())
        for name in ("config.json", "masks.npz"):
            (run.path / name).write_bytes((uninterrupted[1].path / name).read_bytes())
        assert_same(train(config, run.path), uninterrupted)


@pytest.mark.parametrize(
    "changes",
    [
        {"condition": "supervised"},
        {
            "objective": {"graph": {"family": "star", "weighting": "per_target"}, "stop_gradient": True},
            "masks": {"scheme": "random_patches", "fraction": 0.5, "patch_size": 2},
            "encoder": {"type": "vit_lite", "embedding_dim": 8, "heads": 2, "key_dim": 4, "mlp_dim": 8, "dropout": 0.2},
        },
    ],
    ids=["supervised", "transformers on a star"],
)
def test_other_runs_continue_exactly_too(config, tmp_path, changes):
    content = {**config.to_dict(), "training": {"epochs": 2, "batch_size": 400}, **changes}
    other = parse_config(content).resolved()
    expected = train(other, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(other, tmp_path / "run", [StopAt(0, 1)])
    assert_same(train(other, tmp_path / "run"), expected)


def test_stopped_twice_in_one_epoch_and_once_by_sigterm(config, uninterrupted, tmp_path):
    with pytest.raises(Interrupted):
        train(config, tmp_path / "run", [StopAt(1, 0)])
    with pytest.raises(Interrupted) as stop:
        train(config, tmp_path / "run", [StopAt(1, 1, signal.SIGTERM)])
    assert stop.value.signal_number == signal.SIGTERM
    assert_same(train(config, tmp_path / "run"), uninterrupted)


def test_signal_handlers_are_put_back(config, tmp_path):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted):
        train(config, tmp_path / "run", [StopAt(0, 0)])
    assert signal.getsignal(signal.SIGINT) is before


def test_the_order_of_an_epoch_follows_from_seed_and_epoch():
    data = load_data("digits")

    def first(count, **options):
        stream = batches(data.train, 400, seed=5, **options)
        return [next(stream)[1] for _ in range(count)]

    whole = first(8)
    assert steps_per_epoch(len(data.train), 400) == 4 and [len(b) for b in whole] == [400, 400, 400, 12] * 2
    for late, expected in zip(first(3, epoch=1, step=1), whole[5:]):
        np.testing.assert_array_equal(late, expected)
    assert not np.array_equal(whole[0], whole[4])
    np.testing.assert_array_equal(np.sort(np.concatenate(whole[:4])), np.sort(data.train.labels))


def test_damaged_checkpoints_fall_back_to_the_one_before(config, uninterrupted, tmp_path):
    for file in checkpoint_files(uninterrupted[1].checkpoints)[:2]:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    latest = checkpoint_files(tmp_path)[0]
    latest.write_bytes(latest.read_bytes()[:500])
    with pytest.warns(UserWarning, match="not a readable checkpoint"):
        assert latest_checkpoint(tmp_path, config.digest()).epoch == 3
    checkpoint_files(tmp_path)[1].write_bytes(b"")
    with pytest.raises(RunError, match="not a readable checkpoint"):
        latest_checkpoint(tmp_path, config.digest())
    assert latest_checkpoint(tmp_path / "none", config.digest()) is None


def test_numbers_that_numpy_has_no_kind_for_are_kept(tmp_path):
    """bfloat16: NumPy writes it as bytes of no kind."""
    import keras

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, dtype="bfloat16"), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    moment = Checkpoint(0, 3, [], "digest", arrays=[])
    save_checkpoint(tmp_path, model, moment)
    before = [np.asarray(value) for value in model.get_weights()]
    model.set_weights([value * 0 for value in before])
    found = load_checkpoint(checkpoint_files(tmp_path)[0])
    restore_checkpoint(model, found)
    assert {value.dtype.name for value in before} == {"bfloat16", "float32"}
    for value, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(np.asarray(value, np.float32), np.asarray(expected, np.float32))


def test_weights_are_read_where_states_of_seeds_are_of_another_kind(config, uninterrupted):
    """They are int64 under TensorFlow, uint32 under JAX."""
    model, run = uninterrupted
    found = latest_checkpoint(run.checkpoints, config.digest())
    other = [array.astype("uint32") if array.dtype == "int64" else array for array in found.arrays]
    assert any(array.dtype == "uint32" for array in other)
    foreign = dataclasses.replace(found, arrays=other)
    before = model.get_weights()
    model.set_weights([value * 0 for value in before])
    restore_weights(model, foreign)
    for value, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, expected)
    with pytest.raises(RunError, match="another architecture, version or Keras backend wrote it"):
        restore_checkpoint(model, foreign)


def test_what_is_later_than_the_moment_that_a_training_goes_on_from(uninterrupted, tmp_path):
    model, _ = uninterrupted
    for epoch in (1, 2, 3):
        rows = [{"epoch": k + 1} for k in range(epoch)]
        save_checkpoint(tmp_path, model, Checkpoint(epoch, 0, rows, "digest", arrays=[]), keep=3)
    damaged = checkpoint_files(tmp_path)[0]
    damaged.write_bytes(damaged.read_bytes()[:-99])
    set_later_aside(tmp_path, 1, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"aside-{damaged.name}", "epoch-00001-step-000000.npz"]


def test_checkpoints_of_another_config_are_refused(uninterrupted):
    with pytest.raises(RunError, match="another config"):
        latest_checkpoint(uninterrupted[1].checkpoints, "0" * 64)


def test_only_the_latest_checkpoints_stay(config, tmp_path):
    update = {"training": config.training.model_copy(update={"keep_checkpoints": 1, "checkpoint_every": 3})}
    _, run = train(config.model_copy(update=update), tmp_path / "run")
    assert [file.name for file in checkpoint_files(run.checkpoints)] == ["epoch-00004-step-000000.npz"]
    assert len(run.read_history()) == 4 and time.time() - run.history_file.stat().st_mtime < 60


@pytest.mark.parametrize("epoch, step", [(0, 0), (3, 2)])
def test_the_stream_is_the_batches(epoch, step):
    train = load_data("digits").train
    expected = batches(train, 300, seed=7, epoch=epoch, step=step)
    for found, (inputs, labels) in zip(training_stream(train, 300, 7, epoch, step).take(11), expected):
        np.testing.assert_array_equal(found[0], inputs)
        np.testing.assert_array_equal(found[1], labels)
    assert len(train) % 300  # the last batch of an epoch is a smaller one


# ---------------------------------------------------------------------------------------------- several steps at a call


def at_once(config, steps):
    return config.model_copy(update={"compute": config.compute.model_copy(update={"steps_per_execution": steps})})


@pytest.mark.parametrize("steps", [3, 4, 9])
def test_several_steps_at_a_call_end_where_single_ones_do(config, uninterrupted, tmp_path, steps):
    assert_same(train(at_once(config, steps), tmp_path / "run"), uninterrupted)


@pytest.mark.parametrize("epoch, step, stopped", [(0, 0, (0, 3)), (1, 0, (1, 3)), (1, 3, (1, 4))])
def test_stopped_between_two_calls_and_continued(config, uninterrupted, tmp_path, epoch, step, stopped):
    three = at_once(config, 3)  # of the 4 steps of an epoch
    with pytest.raises(Interrupted):
        train(three, tmp_path / "run", [StopAt(epoch, step)])
    moment = load_checkpoint(checkpoint_files(tmp_path / "run" / "checkpoints")[0])
    assert (moment.epoch, moment.step) == stopped
    assert_same(train(at_once(config, 2), tmp_path / "run"), uninterrupted)


def test_no_step_is_left_out_after_a_fit_with_single_steps(config, tmp_path):
    config = at_once(config, 3)
    data = experiment.load_splits(config)
    fields = experiment.make_receptive_fields(config, data)
    model = experiment.make_training_model(config, experiment.make_ensemble(config, fields, data), len(data.label_names))
    model.fit(training_stream(data.train, 400, seed=0), steps_per_epoch=1, verbose=0, shuffle=False)  # of the same shapes
    run = RunFolder(tmp_path / "run")
    with run.opened(config, fields):
        run_training(model, data, config, run)
    assert int(model.optimizer.iterations) == 1 + 4 * 4


def test_how_many_steps_are_taken_at_a_call(config):
    recordings = parse_config({"dataset": {"name": "simulated"}, "condition": "lpl", "masks": {"scheme": "areas"}})
    assert steps_per_execution(config, 9) == 1 and steps_per_execution(recordings, 9) == 8
    assert steps_per_execution(at_once(config, 5), 9) == 5 and steps_per_execution(at_once(recordings, 1), 9) == 1
    compute = {"steps_per_execution": 5, "distribution": "mirrored"}
    assert steps_per_execution(parse_config({"compute": compute}), 9) == 1
    assert at_once(config, 5).digest() == config.digest()


def test_several_steps_at_a_call_stop_at_a_loss_that_is_not_finite(config, tmp_path, monkeypatch):
    usual = experiment.load_splits

    def with_nan(config):
        data = usual(config)
        inputs = data.train.inputs.astype(np.float32)
        order = np.random.default_rng([config.seeds.data_order, 0]).permutation(len(inputs))
        inputs[order[401]] = np.nan  # epoch 1, step 2
        return dataclasses.replace(data, train=dataclasses.replace(data.train, inputs=inputs))

    monkeypatch.setattr(experiment, "load_splits", with_nan)
    with pytest.raises(DivergedError) as error:
        train(at_once(config, 3), tmp_path / "run")
    assert "epoch 1, step 3 of 4: not finite any more: " in str(error.value)


# ---------------------------------------------------------------------------------------------------- loss of its senses


@pytest.fixture
def planted(monkeypatch):
    """The 7th batch of a training (epoch 2, step 3) holds a value that is not finite; only the first time."""
    from closer_tf.nn import tensorflow

    usual, left = batches, [7]

    def with_nan(*args, **options):
        for inputs, labels in usual(*args, **options):
            left[0] -= 1
            yield inputs.astype(np.float32) * (np.nan if left[0] == 0 else 1.0), labels

    monkeypatch.setattr(tensorflow, "training_stream", with_nan)


def test_a_loss_that_is_not_finite_stops_the_run_at_its_step(config, tmp_path, planted):
    with pytest.raises(DivergedError) as error:
        train(config, tmp_path / "run")
    message = str(error.value)
    assert "epoch 2, step 3 of 4: not finite any more: " in message and "loss" in message and "attraction" in message
    assert "epoch-00001-step-000000.npz" in message and "--set optimizer.learning_rate=0.0003" in message
    run = RunFolder(tmp_path / "run")
    assert [file.name for file in checkpoint_files(run.checkpoints)] == ["epoch-00001-step-000000.npz"]
    assert [row["epoch"] for row in run.read_history()] == [1]
    [stop] = run.changes()
    assert (stop["event"], stop["epoch"], stop["step"]) == ("not finite", 1, 3) and "loss" in stop["terms"]


def lowered(config, rate):
    return config.model_copy(update={"optimizer": config.optimizer.model_copy(update={"learning_rate": rate})})


def test_after_such_a_stop_the_learning_rate_may_change(config, tmp_path, planted, capsys):
    with pytest.raises(DivergedError):
        train(config, tmp_path / "run")
    first = load_checkpoint(checkpoint_files(tmp_path / "run" / "checkpoints")[0])
    other = lowered(config, 1e-4)
    with pytest.raises(RunError, match="another config"):  # nothing but the learning rate
        train(other.model_copy(update={"seed": 5}), tmp_path / "run")
    model, run = train(other, tmp_path / "run")
    assert "optimizer.learning_rate: 0.0001 in place of 0.001 after epoch 1; noted" in capsys.readouterr().out
    assert float(model.optimizer.learning_rate) == pytest.approx(1e-4)
    assert [row["epoch"] for row in run.read_history()] == [1, 2, 3, 4]
    assert run.read_history()[0]["loss"] == first.history[0]["loss"]
    assert run.changes()[1] == {"event": "learning rate", "epoch": 1, "step": 0, "from": 1e-3, "to": 1e-4}
    assert run.load_config() == other
    assert latest_checkpoint(run.checkpoints, run.digests(other)).epoch == 4
    for again in (config, lowered(config, 1e-5)):  # it is done: nothing would be trained with that
        with pytest.raises(RunError, match="optimizer.learning_rate: there 0.0001"):
            train(again, tmp_path / "run")
    run.config_file.write_text(config.to_json())  # as if killed between writing the one and the other
    assert run.load_config() == other and run.check(other)


def test_the_learning_rate_may_not_change_otherwise(config, tmp_path):
    with pytest.raises(Interrupted):
        train(config, tmp_path / "run", [StopAt(1, 1)])
    with pytest.raises(RunError, match="optimizer.learning_rate: there 0.001, here 0.0001"):
        train(lowered(config, 1e-4), tmp_path / "run")


def test_a_run_that_got_over_its_stop_keeps_its_learning_rate(config, tmp_path, planted):
    with pytest.raises(DivergedError):
        train(config, tmp_path / "run")
    train(config, tmp_path / "run")  # the planted value does not come again
    with pytest.raises(RunError, match="another config"):
        train(lowered(config, 1e-4), tmp_path / "run")


def test_weights_that_are_not_finite_are_never_saved(config, tmp_path):
    """A gradient that is not finite at an epoch's last step shows in no loss of that epoch."""
    import keras

    class Spoil(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            variable = self.model.trainable_variables[0]
            variable.assign(variable * float("nan"))

    with pytest.raises(
        DivergedError, match="epoch 1, step 1 of 1: hidden_0/kernel holds values that are not .*no checkpoint yet"
    ):
        one_step = config.training.model_copy(update={"batch_size": 1212})
        train(config.model_copy(update={"training": one_step}), tmp_path / "run", [Spoil()])
    assert checkpoint_files(tmp_path / "run" / "checkpoints") == []


def test_a_collapse_is_said_once(config, tmp_path):
    import keras

    class Flatten(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            for variable in self.model.trainable_variables:
                variable.assign(variable * 0)

    with pytest.warns(UserWarning, match="epoch 1: the ensemble has collapsed") as found:
        train(config, tmp_path / "run", [Flatten()])
    assert len(found) == 1


# -------------------------------------------------------------------------------------------------------- checkpoints


def test_checkpoints_by_the_clock(config, uninterrupted, tmp_path):
    often = {"training": config.training.model_copy(update={"checkpoint_every": 4, "checkpoint_minutes": 1e-6})}
    found = train(config.model_copy(update=often), tmp_path / "run")
    moments = [(c.epoch, c.step) for c in map(load_checkpoint, checkpoint_files(found[1].checkpoints))]
    assert moments == [(4, 0), (3, 3), (3, 2), (3, 1), (3, 0), (2, 3), (2, 2), (2, 1), (2, 0)]
    assert_same(found, uninterrupted)
    assert RunFolder(tmp_path / "run").check(config)  # when checkpoints are written makes no other run


def test_stopped_during_validation(config, uninterrupted, tmp_path):
    import keras

    class Stop(keras.callbacks.Callback):
        def on_test_batch_begin(self, batch, logs=None):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        train(config, tmp_path / "run", [Stop()])
    moment = load_checkpoint(checkpoint_files(tmp_path / "run" / "checkpoints")[0])
    assert (moment.epoch, moment.step, moment.history) == (0, 4, [])
    assert_same(train(config, tmp_path / "run"), uninterrupted)


def test_one_changed_value_is_noticed(uninterrupted, tmp_path):
    """The .zip format's own check would pass: the file is written anew with another value."""
    with np.load(checkpoint_files(uninterrupted[1].checkpoints)[0]) as stored:
        arrays = dict(stored)
    arrays["variable_00000"] = arrays["variable_00000"] + 1
    np.savez(tmp_path / "epoch-00004-step-000000.npz", **arrays)
    with pytest.raises(RunError, match="does not match its checksum"):
        load_checkpoint(tmp_path / "epoch-00004-step-000000.npz")
    del arrays["checksum"]
    np.savez(tmp_path / "epoch-00004-step-000000.npz", **arrays)
    with pytest.raises(RunError, match="without a checksum"):
        load_checkpoint(tmp_path / "epoch-00004-step-000000.npz")


def test_a_full_disk_leaves_the_checkpoint_before(config, uninterrupted, tmp_path, monkeypatch):
    """The disk is full from some write on, wherever in the run that is."""
    import errno

    usual = os.fsync
    for writes in (0, 3, 6, 9):
        left = [writes]

        def fsync(descriptor, left=left):
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            usual(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)
        with pytest.raises(RunError, match="No space left on device"):
            train(config, tmp_path / "run")
        monkeypatch.setattr(os, "fsync", usual)
        assert not list((tmp_path / "run").rglob(".writing-*"))
    assert latest_checkpoint(tmp_path / "run" / "checkpoints", config.digest()) is not None
    assert_same(train(config, tmp_path / "run"), uninterrupted)


def test_a_folder_that_is_removed_under_a_run(config, tmp_path):
    import shutil

    import keras

    class Remove(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                shutil.rmtree(tmp_path / "run")

    with pytest.raises(RunError, match="checkpoints: the folder cannot be made"):
        train(config, tmp_path / "run", [Remove()])
    assert not (tmp_path / "run").exists()


def test_what_a_killed_process_left_is_cleared(config, uninterrupted, tmp_path):
    for name in ("", "checkpoints", "figures"):
        (tmp_path / "run" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name / ".writing-masks.npz").write_bytes(b"half")
    (tmp_path / "run" / "checkpoints" / ".writing-masks.npz").unlink()
    (tmp_path / "run" / "checkpoints").rmdir()
    train(config, tmp_path / "run")
    assert not list((tmp_path / "run").rglob(".writing-*"))


def test_one_validation_sample_alone_has_no_loss_to_log():
    from closer_tf.nn.tensorflow import validation_stream

    digits = load_data("digits").validation
    assert validation_stream([digits[:1]], 16) is None and validation_stream([digits[:0]], 16) is None
    assert validation_stream([digits[:2]], 16) is not None
