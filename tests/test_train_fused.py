"""Trainings in one leave the run folders that separate trainings leave."""

import json
import os
import signal

import keras
import numpy as np
import pytest

from closer_tf import cli
from closer_tf.common.command import Interrupted
from closer_tf.config import parse_config
from closer_tf.errors import ConfigError, DivergedError
from closer_tf.fused import check_alike, train_fused
from closer_tf.train import train_run
from closer_tf.training.checkpoints import checkpoint_files, load_checkpoint
from closer_tf.training.runs import RunFolder

SEEDS = (0, 1, 2)


@pytest.fixture
def configs(tiny_config):
    return [parse_config({**tiny_config, "seed": seed}).resolved() for seed in SEEDS]


class StopAt(keras.callbacks.Callback):
    """Asks the process to stop at a step of an epoch."""

    def __init__(self, epoch, batch):
        super().__init__()
        self.at, self.epoch = (epoch, batch), None

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            os.kill(os.getpid(), signal.SIGINT)


def last_state(run_dir):
    checkpoint = load_checkpoint(checkpoint_files(RunFolder(run_dir).checkpoints)[0])
    return (checkpoint.epoch, checkpoint.step), checkpoint.arrays


def rows_without_seconds(run_dir):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in RunFolder(run_dir).read_history()]


def test_from_the_command_to_ordinary_run_folders(tmp_path, tiny_config, configs, capsys):
    (tmp_path / "tiny.json").write_text(json.dumps(tiny_config))
    arguments = ["train-fused", str(tmp_path / "tiny.json"), "--seeds", "0-1,2", "--runs-dir", str(tmp_path / "runs")]
    assert cli.main(arguments) == 0
    assert "3 trainings in one, from the beginning" in capsys.readouterr().out
    apart = train_run(configs[1], tmp_path / "apart")
    together = tmp_path / "runs" / "seed_1"

    def files(folder):
        return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}

    assert files(together) == files(tmp_path / "apart")
    assert (together / "config.json").read_text() == (tmp_path / "apart" / "config.json").read_text()
    moment, arrays = last_state(together)
    expected_moment, expected = last_state(tmp_path / "apart")
    assert moment == expected_moment == (3, 0)
    for values, theirs in zip(arrays, expected, strict=True):
        apart_by = np.abs(values.astype(float) - theirs) / np.maximum(np.abs(theirs), 1)
        assert apart_by.mean() < 1e-5 and apart_by.max() < 5e-3  # rounding, which Nadam enlarges where gradients are near 0
    rows, expected_rows = rows_without_seconds(together), rows_without_seconds(tmp_path / "apart")
    assert [list(row) for row in rows] == [list(row) for row in expected_rows]
    for row, expected_row in zip(rows, expected_rows, strict=True):
        assert row == pytest.approx(expected_row, rel=1e-3)
    accuracy = RunFolder(together).read_results()["accuracy"]["closer"]["ensemble"]["test"]
    assert accuracy == pytest.approx(apart["accuracy"]["closer"]["ensemble"]["test"], abs=0.01)
    before = [(together / name).read_bytes() for name in ("history.csv", "masks.npz")]
    assert cli.main(arguments) == 0  # nothing is left to do
    assert "trainings in one" not in capsys.readouterr().out
    assert before == [(together / name).read_bytes() for name in ("history.csv", "masks.npz")]


@pytest.mark.slow
def test_stopped_twice_and_continued(tmp_path, configs):
    no_readout = {"readout": configs[0].readout.model_copy(update={"after_training": False})}
    without = [config.model_copy(update=no_readout) for config in configs]
    stopped, whole = ([tmp_path / name / str(seed) for seed in SEEDS] for name in ("stopped", "whole"))
    train_fused(without, whole)
    for at in ((1, 2), (2, 0)):
        with pytest.raises(Interrupted):
            train_fused(without, stopped, callbacks=[StopAt(*at)])
    assert last_state(stopped[0])[0] == (2, 2)  # the step in which the signal came was done
    checkpoint_files(RunFolder(stopped[1]).checkpoints)[0].unlink()  # as if killed before this run's was written
    with pytest.raises(Interrupted):
        train_fused(without, stopped, callbacks=[StopAt(2, 4)])  # in the epoch's last step: its validation is left
    assert last_state(stopped[2])[0] == (2, 5)
    train_fused(without, stopped)
    for one, other in zip(stopped, whole):
        for values, expected in zip(last_state(one)[1], last_state(other)[1], strict=True):
            np.testing.assert_array_equal(values, expected)
        assert rows_without_seconds(one) == rows_without_seconds(other)


@pytest.mark.slow
def test_runs_at_different_moments(tmp_path, configs, capsys):
    run_dirs = [tmp_path / str(seed) for seed in SEEDS]
    with pytest.raises(Interrupted):
        train_run(configs[2], run_dirs[2], callbacks=[StopAt(1, 1)])
    results = train_fused(configs, run_dirs)
    assert "2 trainings in one, from the beginning" in capsys.readouterr().out
    assert [last_state(run_dir)[0] for run_dir in run_dirs] == [(3, 0)] * 3 and len(results) == 3


@pytest.mark.slow
def test_a_run_that_diverges_leaves_the_others_alone(tmp_path, configs):
    hopeless = configs[1].model_copy(update={"objective": configs[1].objective.model_copy(update={"temperature": 1e-42})})
    run_dirs = [tmp_path / str(seed) for seed in SEEDS]
    with pytest.raises(DivergedError, match="not finite any more"):
        train_fused([configs[0], hopeless, configs[2]], run_dirs)
    assert [event["event"] for event in RunFolder(run_dirs[1]).changes()] == ["not finite"]
    assert not checkpoint_files(RunFolder(run_dirs[1]).checkpoints)
    for s in (0, 2):
        assert last_state(run_dirs[s])[0] == (3, 0) and RunFolder(run_dirs[s]).read_results()["epochs"] == 3
    assert all(np.isfinite(array).all() for array in last_state(run_dirs[0])[1])


def test_what_may_differ(tiny_config, configs):
    check_alike(configs)
    longer = parse_config({**tiny_config, "training": {"epochs": 4, "batch_size": 256}}).resolved()
    with pytest.raises(ConfigError, match="training.epochs: trainings in one may differ in description, seed, masks, .* only"):
        check_alike([configs[0], longer])
    with pytest.raises(ConfigError, match="condition: expected one that trains"):
        check_alike([parse_config({**tiny_config, "condition": "untrained"}).resolved()])


def test_masks_of_other_sizes(tmp_path, tiny_config, configs):
    wider = parse_config({**tiny_config, "masks": {"scheme": "gaussian", "fraction": 0.5}}).resolved()
    with pytest.raises(ConfigError, match="masks: encoder 0 of run 1 has another architecture, or sees more or fewer cells"):
        train_fused([configs[0], wider], [tmp_path / "a", tmp_path / "b"])
    assert not (tmp_path / "a").exists()


def test_seeds_that_are_none(tmp_path, tiny_config, capsys):
    (tmp_path / "tiny.json").write_text(json.dumps(tiny_config))
    mistakes = {"0,0": "expected each seed once", "one": "found 'one'", "": "found none", "2-1": "expected ranges"}
    for seeds, says in mistakes.items():
        assert cli.main(["train-fused", str(tmp_path / "tiny.json"), "--seeds", seeds]) == 2
        assert f"--seeds {seeds}: expected" in (error := capsys.readouterr().err) and says in error
