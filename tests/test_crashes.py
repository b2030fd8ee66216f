"""Trainers that are killed, stopped, run out of disk or meet each other: nothing is lost, nothing is left unreadable."""

import json
import os
import random
import shutil
import signal
import time

import numpy as np
import pytest
from trainers import Trainers

from closer_tf.checkpoints import checkpoint_files, latest_checkpoint, load_checkpoint
from closer_tf.runs import RunFolder

QUICK_KILLS, SLOW_KILLS = 5, int(os.environ.get("CLOSER_TF_KILLS", 50))


@pytest.fixture(scope="module")
def trainers():
    with Trainers() as started:
        yield started


@pytest.fixture
def folder(tmp_path, tiny_config):
    """A working folder with a config that has dropout, shuffling and augmentation, and saves in the middle of epochs."""
    tiny_config["augmentation"]["horizontal_flip"] = True
    tiny_config["training"] = {"epochs": 12, "batch_size": 128, "checkpoint_minutes": 0.0002, "keep_checkpoints": 3}
    tiny_config["readout"]["after_training"] = False
    (tmp_path / "tiny.json").write_text(json.dumps(tiny_config))
    return tmp_path


def outcome(run):
    """What has to be equal to the bit: the last checkpoint's arrays and the history without times."""
    last = load_checkpoint(checkpoint_files(run.checkpoints)[0])
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in run.read_history()]
    return last.arrays, rows


def assert_same(found, expected):
    assert len(found[0]) == len(expected[0]) and found[1] == expected[1]
    for one, other in zip(found[0], expected[0]):
        np.testing.assert_array_equal(one, other)


def assert_readable(run):
    """A killed run's folder can be taken up again, and its history has no gap and no duplicate."""
    if not run.config_file.exists():
        return
    config = run.load_config()
    assert run.check(config)
    checkpoint = latest_checkpoint(run.checkpoints, run.digests(config))  # a damaged one would warn, which is an error here
    epochs = [row["epoch"] for row in run.read_history()]
    assert epochs == list(range(1, len(epochs) + 1))
    if checkpoint is not None:
        assert len(epochs) >= checkpoint.epoch - 1


@pytest.mark.timeout(0)
@pytest.mark.parametrize("count", [QUICK_KILLS, pytest.param(SLOW_KILLS, marks=pytest.mark.slow)])
def test_killed_at_random_moments(trainers, folder, count):
    began = time.monotonic()
    assert trainers.run(folder, "tiny.json", "--run-dir", "whole") == 0, (folder / "log.txt").read_text()
    duration = time.monotonic() - began
    expected = outcome(RunFolder(folder / "whole"))
    assert len(expected[1]) == 12
    rng = random.Random(count)
    run, kills, runs = RunFolder(folder / "run"), 0, 0
    while kills < count or run.path.exists():
        pid = trainers.start(folder, "tiny.json", "--run-dir", "run")
        if kills < count:
            time.sleep(rng.uniform(0, duration))
            os.kill(pid, signal.SIGKILL)
        code = trainers.wait(pid)
        assert code in (0, -signal.SIGKILL), (folder / "log.txt").read_text()
        kills += code == -signal.SIGKILL
        assert_readable(run)
        if code == 0:
            assert_same(outcome(run), expected)
            assert not list(run.path.rglob(".writing-*"))
            shutil.rmtree(run.path)
            runs += 1
    print(f"{kills} kills over {runs} runs of {duration:.1f} s: all ended with the uninterrupted run's weights and history")
    assert "Traceback" not in (folder / "log.txt").read_text()
