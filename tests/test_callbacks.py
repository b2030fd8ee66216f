"""Callbacks of a user's own that stop a training, and what `train_run` takes for a config."""

import json

import keras
import numpy as np
import pytest

from closer_tf import load_config, train_run
from closer_tf.errors import CloserWarning, ConfigError
from closer_tf.fused import train_fused
from closer_tf.training.checkpoints import checkpoint_files, load_checkpoint
from closer_tf.training.runs import RunFolder

CONFIG = {
    "num_encoders": 2,
    "dataset": {"name": "digits", "test_fraction": 0.9},
    "masks": {"scheme": "gaussian", "fraction": 0.3},
    "encoder": {"type": "mlp", "hidden": [6], "embedding_dim": 3, "dropout": 0.2},
    "training": {"epochs": 4, "batch_size": 50},  # 4 steps
    "readout": {"C": [0.1], "max_iter": 5, "conditions": [], "pseudo_likelihood_draws": 1},
}


class StopAt(keras.callbacks.Callback):
    """Asks for a stop at the end of an epoch, or after some steps of it."""

    def __init__(self, epoch, step=None):
        super().__init__()
        self.at, self.now = (epoch, step), 0

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.now, batch + 1) == self.at:
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1, None) == self.at:
            self.model.stop_training = True


def changed(**training):
    return {**CONFIG, "training": {**CONFIG["training"], **training}}


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight") / "run"
    train_run(CONFIG, folder)
    return RunFolder(folder)


def state(run):
    checkpoint = load_checkpoint(checkpoint_files(run.checkpoints)[0])
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in checkpoint.history]
    return checkpoint.arrays, rows


def assert_same(run, other):
    (arrays, rows), (others, other_rows) = state(run), state(other)
    for a, b in zip(arrays, others, strict=True):
        np.testing.assert_array_equal(a, b)
    assert rows == other_rows


@pytest.mark.parametrize(
    "callback, moment, training, words",
    [
        (StopAt(2), (2, 0), dict(checkpoint_every=3), "after epoch 2"),
        (StopAt(3), (3, 0), dict(), "after epoch 3"),
        (StopAt(1, 3), (1, 3), dict(checkpoint_every=100), "in epoch 2, after step 3 of 4"),
        (StopAt(0, 1), (0, 1), dict(), "in epoch 1, after step 1 of 4"),
        (StopAt(1, 4), (2, 0), dict(checkpoint_every=100), "after epoch 2"),
    ],
)
def test_a_stop_is_saved_read_out_and_said_and_the_run_goes_on(
    callback, moment, training, words, tmp_path, never_stopped, capsys
):
    config = changed(**training)
    results = train_run(config, tmp_path / "run", callbacks=[callback])
    run = RunFolder(tmp_path / "run")
    assert run.moment() == moment and (results["epochs"], results["step"]) == moment
    assert "closer" in results["accuracy"] and run.ensemble_file.exists()
    assert f"a callback stopped the training {words}, before its 4 epochs: state saved" in capsys.readouterr().out
    assert [row["epoch"] for row in run.read_history()] == list(range(1, moment[0] + 1))
    train_run(config, run.path)
    assert f"going on {words}" in capsys.readouterr().out
    assert_same(run, never_stopped)
    assert run.read_results()["accuracy"] == never_stopped.read_results()["accuracy"]
    name = f"after_{moment[0]}_epochs" + (f"_{moment[1]}_steps" if moment[1] else "")
    assert json.loads((run.path / f"results_{name}.json").read_text())["accuracy"] == results["accuracy"]
    assert (run.path / f"ensemble_{name}.keras").exists()


def test_without_a_validation_set_too(tmp_path):
    config = changed(validation_fraction=0.0, batch_size=60)
    for callbacks in ([StopAt(1, 2)], []):
        train_run(config, tmp_path / "run", callbacks=callbacks)
    train_run(config, tmp_path / "straight")
    assert_same(RunFolder(tmp_path / "run"), RunFolder(tmp_path / "straight"))


def test_a_stop_in_the_rest_of_a_broken_epoch(tmp_path, never_stopped):
    for callback, moment in ((StopAt(1, 1), (1, 1)), (StopAt(1, 1), (1, 2)), (StopAt(2), (2, 0))):
        train_run(CONFIG, tmp_path / "run", callbacks=[callback])
        assert RunFolder(tmp_path / "run").moment() == moment
    train_run(CONFIG, tmp_path / "run")
    assert_same(RunFolder(tmp_path / "run"), never_stopped)


def test_early_stopping_as_the_guide_shows_it(tmp_path, capsys):
    stopping = keras.callbacks.EarlyStopping(monitor="val_loss", patience=1, min_delta=1e9)
    results = train_run(changed(checkpoint_every=100), tmp_path / "run", callbacks=[stopping])
    assert results["epochs"] == 2 and results["accuracy"]["closer"]["ensemble"]["test"] > 0
    assert "a callback stopped the training after epoch 2" in capsys.readouterr().out


def test_weights_set_at_the_end_are_not_passed_off(tmp_path):
    class Shift(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            self.model.set_weights([value + 1 if value.dtype.kind == "f" else value for value in self.model.get_weights()])

    with pytest.warns(CloserWarning, match=r"a callback set other weights after the training .* after epoch 4"):
        train_run(CONFIG, tmp_path / "run", callbacks=[Shift()])
    saved = keras.saving.load_model(tmp_path / "run" / "ensemble.keras")
    kept = load_checkpoint(checkpoint_files(tmp_path / "run" / "checkpoints")[0]).arrays
    np.testing.assert_array_equal(saved.get_weights()[0], kept[0])


def test_a_stop_of_trainings_in_one(tmp_path, capsys):
    configs = [load_config_of({**CONFIG, "seed": seed}, tmp_path) for seed in (0, 1)]
    for callback, moment in ((StopAt(1, 2), (1, 2)), (StopAt(2), (2, 0))):
        results = train_fused(configs, [tmp_path / "a", tmp_path / "b"], [callback])
        assert [(one["epochs"], one["step"]) for one in results] == [moment, moment]
        assert capsys.readouterr().out.count("a callback stopped the training") == 2
        assert all(RunFolder(tmp_path / name).ensemble_file.exists() for name in "ab")
    results = train_fused(configs, [tmp_path / "a", tmp_path / "b"])
    straight = train_fused(configs, [tmp_path / "c", tmp_path / "d"])
    for a, b in zip(results, straight):
        assert a["epochs"] == 4 and a["accuracy"] == b["accuracy"]
    for a, b in ("ac", "bd"):
        for x, y in zip(state(RunFolder(tmp_path / a))[0], state(RunFolder(tmp_path / b))[0]):
            np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("keep", [1, 2])
def test_a_stop_after_a_damaged_checkpoint_is_at_its_own_moment(tmp_path, keep):
    """The damaged one is later than where the training goes on from, and must not pass for the latest."""
    train_run(changed(epochs=2), tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    damaged = checkpoint_files(run.checkpoints)[0]
    damaged.write_bytes(damaged.read_bytes()[:-99])
    with pytest.warns(CloserWarning, match="not a readable checkpoint: .*; going on from epoch-00001-step-000000.npz") as said:
        results = train_run(changed(epochs=4, keep_checkpoints=keep), run.path, callbacks=[StopAt(1, 2)])
    assert str(said[0].message).count(damaged.name) == 1
    assert (results["epochs"], results["step"]) == (1, 2) == run.moment()[:2] and len(run.read_history()) == 1
    assert (run.checkpoints / f"aside-{damaged.name}").exists() and not damaged.exists()
    train_run(changed(epochs=4, keep_checkpoints=keep), run.path)
    straight = RunFolder(tmp_path / "straight")
    train_run(changed(epochs=4), straight.path)
    assert_same(run, straight)


def test_callbacks_of_trainings_in_one_see_means(tmp_path):
    class Watch(keras.callbacks.Callback):
        seen = ()

        def on_epoch_end(self, epoch, logs=None):
            self.seen = [*self.seen, dict(logs)]

    configs = [load_config_of({**changed(epochs=3), "seed": seed}, tmp_path) for seed in (0, 1)]
    watch, stopping = Watch(), keras.callbacks.EarlyStopping(monitor="val_loss", patience=1, min_delta=1e9)
    results = train_fused(configs, [tmp_path / "a", tmp_path / "b"], [watch, keras.callbacks.TerminateOnNaN(), stopping])
    assert [one["epochs"] for one in results] == [2, 2]
    for k, logs in enumerate(watch.seen):
        rows = [RunFolder(tmp_path / name).read_history()[k] for name in "ab"]
        assert logs["val_loss"] == pytest.approx(np.mean([row["val_loss"] for row in rows]), rel=1e-6)


def test_means_over_runs_leave_out_those_that_diverged():
    from closer_tf.training.over_runs import means_over_runs

    logs = {"loss": np.array([1.0, np.nan, 3.0]), "lost": np.array([np.nan, np.inf]), "rate": 0.5}
    found = means_over_runs(logs)
    assert found["loss"] == 2 and np.isnan(found["lost"]) and found["rate"] == 0.5 and means_over_runs(None) == {}


def load_config_of(content, folder):
    (folder / "one.json").write_text(json.dumps(content))
    return load_config(folder / "one.json")


def test_a_config_as_path_dict_or_object(tmp_path, monkeypatch):
    from closer_tf.config import as_config, parse_config

    resolved = load_config_of(CONFIG, tmp_path)
    for given in (str(tmp_path / "one.json"), tmp_path / "one.json", CONFIG, parse_config(CONFIG), resolved):
        assert as_config(given) == resolved
    for wrong in (None, 3, [CONFIG]):
        with pytest.raises(ConfigError, match="config: expected a RunConfig, the path of a run config or a dict, found "):
            train_run(wrong, tmp_path / "run")
    assert not (tmp_path / "run").exists()
