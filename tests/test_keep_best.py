"""`training.keep: "best"`: the best epoch by validation loss is what a training gives; one that has passed its best says so."""

import json
import os
import shutil
import signal
import warnings

import numpy as np
import pytest

from closer_tf import report
from closer_tf.common.command import Interrupted
from closer_tf.config import parse_config
from closer_tf.errors import CloserWarning, ConfigError, RunError
from closer_tf.evaluate import evaluate_run
from closer_tf.fused import train_fused
from closer_tf.readout.features import trained_ensemble
from closer_tf.train import train_run
from closer_tf.training import experiment
from closer_tf.training.checkpoints import (
    PATTERN,
    best_epoch,
    checkpoint_files,
    has_passed_its_best,
    kept_epoch,
    load_checkpoint,
)
from closer_tf.training.loop import RunRecord
from closer_tf.training.runs import RunFolder

EPOCHS = 24
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (120, 4, 4, 1)).astype(np.uint8)  # nothing to be learned: soon each training overfits
LABELS = RNG.integers(0, 3, 120)

pytestmark = pytest.mark.filterwarnings("ignore:val_loss has not improved:closer_tf.errors.CloserWarning")


def config_of(folder, keep="best", **changes):
    """A training that overfits within a few of its epochs of 2 steps; checkpoints every 7 epochs."""
    if not (folder / "a.npz").exists():
        np.savez(folder / "a.npz", x_train=IMAGES[:90], y_train=LABELS[:90], x_test=IMAGES[90:], y_test=LABELS[90:])
    content = {
        "condition": "supervised",
        "num_encoders": 2,
        "dataset": {"name": "arrays", "path": str(folder / "a.npz")},
        "masks": {"scheme": "gaussian", "fraction": 0.6},
        "encoder": {"type": "mlp", "hidden": [16], "embedding_dim": 4, "dropout": 0.1},
        "optimizer": {"learning_rate": 0.02},
        "compute": {"steps_per_execution": 1},  # callbacks see every step, under JAX too
        "training": {
            "epochs": EPOCHS,
            "batch_size": 30,
            "checkpoint_every": 7,
            "validation_fraction": 0.34,
            **({"keep": keep} if keep else {}),
        },
        "readout": {"C": [0.1], "max_iter": 20, "conditions": [], "pseudo_likelihood_draws": 1},
    }
    for key, value in changes.items():
        content[key] = {**content[key], **value} if isinstance(value, dict) else value
    return parse_config(content).resolved()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("keep")


@pytest.fixture(scope="module")
def last(folder):
    """(run, results, warnings) of a training that keeps the last epoch, with the weights and readout of every epoch beside."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        every = list(range(1, EPOCHS + 1))
        results = train_run(config_of(folder, "last", readout={"at_epochs": every}), folder / "last")
    return RunFolder(folder / "last"), results, [str(one.message) for one in said if one.category is CloserWarning]


@pytest.fixture(scope="module")
def best(folder):
    return RunFolder(folder / "best"), train_run(config_of(folder), folder / "best")


def losses(run):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in run.read_history()]


def weights_of(run):
    return run.load_ensemble().get_weights()


def assert_equal(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected):
        np.testing.assert_array_equal(one, other)


def rows(*values):
    return [{"epoch": k, "loss": 0.0, "val_loss": value} for k, value in enumerate(values, start=1)]


def test_which_epoch_is_the_best():
    assert best_epoch([]) is None and best_epoch([{"epoch": 1, "loss": 1.0}]) is None
    assert best_epoch(rows(3.0, 1.0, float("nan"), 1.0, 2.0))["epoch"] == 2
    assert best_epoch(rows(float("nan"))) is None


def test_what_has_passed_its_best():
    falling, risen = [5 - 0.1 * k for k in range(20)], [3.1 + 0.2 * k for k in range(1, 11)]
    assert not has_passed_its_best(rows(*falling), 20)
    assert has_passed_its_best(rows(*falling, *risen), 30)
    assert not has_passed_its_best(rows(*falling, *risen[:-1]), 30)  # not for long
    assert not has_passed_its_best(rows(*falling, *risen), 100)  # a fifth of all
    assert not has_passed_its_best(rows(*falling, *[3.12] * 30), 50)  # wavers near its best
    assert has_passed_its_best(rows(*falling, *[float("nan")] * 10), 30)
    assert has_passed_its_best(rows(3.0, *risen), 11)  # never improved


def test_an_overfitting_training_says_so(last):
    run, results, said = last
    where = best_epoch(run.read_history())
    [warned] = [text for text in said if text.startswith("val_loss has not improved")]
    assert f"since epoch {where['epoch']:.0f}" in warned and "--set training.keep=best" in warned
    assert f"--set training.epochs={where['epoch']:.0f}" in warned
    assert results["best"] == {
        "epoch": where["epoch"],
        "val_loss": where["val_loss"],
        "last_epoch": EPOCHS,
        "last_val_loss": run.read_history()[-1]["val_loss"],
        "kept": False,
    }
    assert where["epoch"] < EPOCHS - 10 and any("val_loss has not improved since" in note for note in results["notes"])
    report.write_report([run.path], run.path.parent / "page.html", embeddings="none")
    page = (run.path.parent / "page.html").read_text()
    assert page.count(f"val_loss has not improved since epoch {where['epoch']:.0f}") >= 1


def test_the_best_epoch_is_saved_and_read_out_and_the_training_is_the_same(last, best):
    (run, results), (its_last, of_all, _) = best, last
    assert losses(run) == losses(its_last)
    number = results["best"]["epoch"]
    assert results["best"] == {**of_all["best"], "kept": True} and results["epochs"] == EPOCHS
    assert results["accuracy"]["supervised"] == of_all["at_epochs"][str(number)]["accuracy"]
    assert results["accuracy"]["supervised"] != of_all["accuracy"]["supervised"]
    kept = load_checkpoint(its_last.weights / PATTERN.format(number, 0)).arrays
    with_heads = weights_of(run)
    assert {array.tobytes() for array in with_heads if array.dtype == np.float32} <= {array.tobytes() for array in kept}
    assert [path.name for path in checkpoint_files(run.best)] == [PATTERN.format(number, 0)]
    assert checkpoint_files(run.checkpoints)[0].name == PATTERN.format(EPOCHS, 0)
    report.write_report([run.path], run.path.parent / "kept.html", embeddings="none")
    assert f"the weights are those after epoch {number}, the best by val_loss" in (run.path.parent / "kept.html").read_text()
    before = run.results_file.read_bytes()
    assert evaluate_run(run.path)["best"] == results["best"] and run.results_file.read_bytes() == before
    again = train_run(config_of(run.path.parent), run.path)
    assert again["accuracy"] == results["accuracy"]
    assert evaluate_run(run.path, redo=True)["accuracy"] == results["accuracy"]


def test_what_is_the_same_training(folder, best):
    assert config_of(folder, "last").digest() == config_of(folder, keep=None).digest() != config_of(folder).digest()
    with pytest.raises(RunError, match='another config .training.keep: there "best", here "last"'):
        train_run(config_of(folder, "last"), best[0].path)
    with pytest.raises(ConfigError, match="training.keep: trainings in one"):
        train_fused([config_of(folder), config_of(folder, "last")], [folder / "a", folder / "b"])


def test_without_validation_there_is_no_best(folder):
    config = config_of(folder, training={**config_of(folder).to_dict()["training"], "validation_fraction": 0.0})
    with pytest.raises(ConfigError, match="training.keep: 'best' .* 0 validation samples .* training.validation_fraction"):
        train_run(config, folder / "without")
    assert not (folder / "without").exists()


@pytest.mark.slow
def test_without_checkpoints_the_ensemble_itself_is_read_out(best, tmp_path):
    run, results = best
    shutil.copytree(run.path, tmp_path / "moved", ignore=shutil.ignore_patterns("checkpoints", "best", "results.json"))
    found = evaluate_run(tmp_path / "moved")
    assert found["best"] == results["best"]
    for readout, score in results["accuracy"]["supervised"].items():
        assert found["accuracy"]["supervised"][readout]["test"] == pytest.approx(score["test"], abs=1e-6)


def test_killed_between_checkpoint_and_history(best, tmp_path):
    run, results = best
    shutil.copytree(run.path, tmp_path / "run")
    cut, number = RunFolder(tmp_path / "run"), results["best"]["epoch"]
    cut.write_history(run.read_history()[: number - 1])
    assert kept_epoch(config_of(run.path.parent), cut.read_history()) not in (None, number)
    found = evaluate_run(cut.path, redo=True)
    assert found["accuracy"] == results["accuracy"] and found["best"] == results["best"]


@pytest.mark.slow
def test_a_damaged_best_epoch_is_said(best, tmp_path):
    run, _ = best
    shutil.copytree(run.path, tmp_path / "run")
    [path] = checkpoint_files(tmp_path / "run" / "best")
    path.write_bytes(path.read_bytes()[:-100])
    config = config_of(run.path.parent)
    data = experiment.load_splits(config)
    with pytest.raises(RunError, match="not a readable checkpoint"):
        trained_ensemble(RunFolder(tmp_path / "run"), config, data)
    path.unlink()
    with pytest.raises(RunError, match="absent, and with it the weights of the best epoch so far"):
        train_run(config, tmp_path / "run")


class Killed(Exception):
    """Stands for a process that ends at once."""


def kill_at(moment, monkeypatch):
    """End at (epoch, step): before anything of that step is done."""
    import keras

    class Kill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_train_batch_begin(self, batch, logs=None):
            if (self.epoch, batch) == moment:
                raise Killed

    return Kill()


def stop_at(moment):
    import keras

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_train_batch_begin(self, batch, logs=None):
            if (self.epoch, batch) == moment:
                os.kill(os.getpid(), signal.SIGINT)

    return Stop()


def assert_as_whole(folder, whole):
    run, results = whole
    resumed = RunFolder(folder)
    assert losses(resumed) == losses(run)
    assert_equal(weights_of(resumed), weights_of(run))
    [one], [other] = (checkpoint_files(each.best) for each in (resumed, run))
    assert one.name == other.name
    assert_equal(load_checkpoint(one).arrays, load_checkpoint(other).arrays)
    found = json.loads(resumed.results_file.read_text())
    assert found["accuracy"] == results["accuracy"] and found["best"] == results["best"]


@pytest.mark.slow
def test_killed_and_stopped_at_random_and_resumed_to_the_bit(folder, best, tmp_path, monkeypatch):
    moments = np.random.default_rng(5)
    for attempt in range(4):
        path = tmp_path / f"run{attempt}"
        at = sorted({(int(moments.integers(EPOCHS)), int(moments.integers(2))) for _ in range(3)})
        for k, moment in enumerate(at):
            error, callback = (Killed, kill_at(moment, monkeypatch)) if (k + attempt) % 2 else (Interrupted, stop_at(moment))
            with pytest.raises(error):
                train_run(config_of(folder), path, callbacks=[callback])
        train_run(config_of(folder), path)
        assert_as_whole(path, best)


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 3])
def test_killed_before_a_checkpoint_and_with_a_damaged_one(folder, best, tmp_path, every, monkeypatch):
    """Whatever a checkpoint needs is there before it is, and stays as long as it does."""
    config = config_of(folder, training={**config_of(folder).to_dict()["training"], "checkpoint_every": every})
    number = best[1]["best"]["epoch"]
    due = next(epoch for epoch in range(number + 1, EPOCHS) if epoch % every == 0)
    with monkeypatch.context() as patched, pytest.raises(Killed):
        usual = RunRecord.save

        def save(self, epoch, step, *rest, **how):
            if (epoch, step) == (due, 0):
                self.best.write(self.history, step)
                raise Killed
            return usual(self, epoch, step, *rest, **how)

        patched.setattr(RunRecord, "save", save)
        train_run(config, tmp_path / "run")
    assert (tmp_path / "run" / "best" / PATTERN.format(number, 0)).exists()
    with pytest.raises(Interrupted):
        train_run(config, tmp_path / "run", callbacks=[stop_at((due + 4, 0))])
    latest = checkpoint_files(tmp_path / "run" / "checkpoints")[0]
    latest.write_bytes(latest.read_bytes()[:-100])
    with pytest.warns(CloserWarning, match="not a readable checkpoint"):
        train_run(config, tmp_path / "run")
    assert_as_whole(tmp_path / "run", best)


@pytest.mark.slow
def test_trainings_in_one_keep_each_its_best(folder, tmp_path):
    def config(seed, **changes):
        return config_of(folder, seed=seed, **changes)

    for seed in (0, 1):
        train_run(config(seed), tmp_path / f"alone{seed}")
    paths = [tmp_path / "together0", tmp_path / "together1"]
    with pytest.raises(Interrupted):
        train_fused([config(0), config(1)], paths, callbacks=[stop_at((EPOCHS - 2, 1))])
    train_fused([config(0), config(1)], paths)
    for seed, path in enumerate(paths):
        one, other = (RunFolder(each) for each in (path, tmp_path / f"alone{seed}"))
        assert one.read_results()["best"]["epoch"] == other.read_results()["best"]["epoch"] < EPOCHS
        for found, expected in zip(weights_of(one), weights_of(other)):
            np.testing.assert_allclose(found, expected, atol=2e-3)
