"""Resuming is exact: a run stopped anywhere and continued has the weights of one that was never stopped."""

import os
import signal
import time

import numpy as np
import pytest

from closer_tf import experiment
from closer_tf.checkpoints import checkpoint_files, latest_checkpoint, load_checkpoint
from closer_tf.config import parse_config
from closer_tf.data import load_data
from closer_tf.errors import RunError
from closer_tf.loop import Interrupted, batches, run_training, steps_per_epoch
from closer_tf.runs import RunFolder


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
        checkpoint = latest_checkpoint(run.checkpoints, config.digest())
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
    assert steps_per_epoch(data.train, 400) == 4 and [len(b) for b in whole] == [400, 400, 400, 12] * 2
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


def test_checkpoints_of_another_config_are_refused(uninterrupted):
    with pytest.raises(RunError, match="another config"):
        latest_checkpoint(uninterrupted[1].checkpoints, "0" * 64)


def test_only_the_latest_checkpoints_stay(config, tmp_path):
    update = {"training": config.training.model_copy(update={"keep_checkpoints": 1, "checkpoint_every": 3})}
    _, run = train(config.model_copy(update=update), tmp_path / "run")
    assert [file.name for file in checkpoint_files(run.checkpoints)] == ["epoch-00004-step-000000.npz"]
    assert len(run.read_history()) == 4 and time.time() - run.history_file.stat().st_mtime < 60
