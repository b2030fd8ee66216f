"""Under JAX, too, trainings killed at random moments end with the weights and history of one that was not, to the bit."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import keras
import pytest
from test_crashes import BEYOND, assert_readable, assert_same, outcome

from closer_tf.training.runs import RunFolder

if keras.backend.backend() != "jax":
    pytest.skip("needs KERAS_BACKEND=jax", allow_module_level=True)

pytestmark = pytest.mark.jax
SLOW_KILLS = int(os.environ.get("CLOSER_TF_KILLS", 20))
FUSED = ["closer_tf.fused", "tiny.json", "--seeds", "0,1", "--runs-dir"]


@pytest.fixture
def folder(tmp_path, tiny_config):
    """A working folder with a config that has dropout, shuffling and augmentation, and saves in the middle of epochs."""
    tiny_config["augmentation"]["horizontal_flip"] = True
    tiny_config["training"] = {"epochs": 200, "batch_size": 128, "checkpoint_minutes": 0.002, "keep_checkpoints": 3}
    tiny_config["compute"] = {"steps_per_execution": 4}
    tiny_config["readout"]["after_training"] = False
    (tmp_path / "tiny.json").write_text(json.dumps(tiny_config))
    return tmp_path


def train(folder, *arguments, kill_after=None):
    """Run a command in a process of its own, killed after some seconds or not; returns its exit code."""
    with open(folder / "log.txt", "a") as log:
        command = [sys.executable, "-m", *arguments]
        with subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, env=os.environ | {"KERAS_BACKEND": "jax"}
        ) as process:
            try:
                return process.wait(kill_after)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                return process.wait()


@pytest.mark.timeout(0)
@pytest.mark.slow
@pytest.mark.parametrize("name", BEYOND)
def test_what_goes_beyond_the_paper_is_killed_too(folder, name):
    config = json.loads((folder / "tiny.json").read_text()) | BEYOND[name]
    config["training"]["epochs"] = 60
    (folder / "tiny.json").write_text(json.dumps(config))
    kill_at_random_moments(folder, ["closer_tf.train", "tiny.json", "--run-dir"], ["."], 2)


@pytest.mark.timeout(0)
@pytest.mark.parametrize(
    "command, seeds, count",
    [
        pytest.param(["closer_tf.train", "tiny.json", "--run-dir"], ["."], 1, id="once"),
        pytest.param(["closer_tf.train", "tiny.json", "--run-dir"], ["."], SLOW_KILLS, id="often", marks=pytest.mark.slow),
        pytest.param(FUSED, ["seed_0", "seed_1"], 4, id="fused", marks=pytest.mark.slow),
    ],
)
def test_killed_at_random_moments(folder, command, seeds, count):
    kill_at_random_moments(folder, command, seeds, count)


def kill_at_random_moments(folder, command, seeds, count):
    """Kill a training of some seeds so many times: each ends with the weights and history of one that was not."""
    began = time.monotonic()
    assert train(folder, *command, "whole") == 0, (folder / "log.txt").read_text()
    duration = time.monotonic() - began
    expected = [outcome(RunFolder(folder / "whole" / seed)) for seed in seeds]
    rng, kills = random.Random(count), 0
    while True:
        began = time.monotonic()
        code = train(folder, *command, "runs", kill_after=rng.uniform(0.3, 1) * duration if kills < count else None)
        if code == 0:  # the first one may have had the machine to share
            duration = min(duration, time.monotonic() - began)
        assert code in (0, -signal.SIGKILL), (folder / "log.txt").read_text()
        kills += code == -signal.SIGKILL
        for seed in seeds:
            assert_readable(RunFolder(folder / "runs" / seed))
        if code == 0 and kills < count:  # done before it could be killed often enough: once more, elsewhere
            for seed, of_seed in zip(seeds, expected):
                assert_same(outcome(RunFolder(folder / "runs" / seed)), of_seed)
            (folder / "runs").rename(folder / f"done-{kills}-{time.monotonic()}")
        elif code == 0:
            break
    for seed, of_seed in zip(seeds, expected):
        assert_same(outcome(RunFolder(folder / "runs" / seed)), of_seed)
    print(f"{kills} kills within {duration:.1f} s each: the uninterrupted run's weights and history")
    assert "Traceback" not in (folder / "log.txt").read_text()
