"""Trainers that are killed, stopped, run out of disk or meet each other: nothing is lost, nothing is left unreadable."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from trainers import Trainers

from closer_tf.training.checkpoints import checkpoint_files, latest_checkpoint, load_checkpoint
from closer_tf.training.runs import RunFolder

QUICK_KILLS, SLOW_KILLS = 3, int(os.environ.get("CLOSER_TF_KILLS", 20))


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


BEYOND = {
    "push": {"objective": {"push": {"graph": {"family": "star"}, "weight": 0.5}}},
    "distilled": {"condition": "distilled", "objective": {"momentum": 0.9, "predictor": {"batch_norm": True}}},
    "local": {"objective": {"local": True}},
}
"""What goes beyond the paper -> the keys that ask for it."""


@pytest.mark.timeout(0)
@pytest.mark.parametrize("count", [QUICK_KILLS, pytest.param(SLOW_KILLS, marks=pytest.mark.slow)])
def test_killed_at_random_moments(trainers, folder, count):
    kill_at_random_moments(trainers, folder, count)


@pytest.mark.timeout(0)
@pytest.mark.slow
@pytest.mark.parametrize("name", BEYOND)
def test_what_goes_beyond_the_paper_is_killed_at_random_moments(trainers, folder, name):
    config = folder / "tiny.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | BEYOND[name]))
    kill_at_random_moments(trainers, folder, QUICK_KILLS)


def kill_at_random_moments(trainers, folder, count):
    """Kill a training so many times: it ends with the weights and history of one that was not."""
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


def wait_for(log, text, seconds=120):
    """Wait until a log file holds a text."""
    until = time.monotonic() + seconds
    while not (log.exists() and text in log.read_text()):
        assert time.monotonic() < until, log.read_text() if log.exists() else "no log"
        time.sleep(0.05)


@pytest.fixture
def endless(folder, tiny_config):
    """A second config whose run does not end by itself."""
    tiny_config["training"] = {"epochs": 100_000, "batch_size": 128}
    (folder / "endless.json").write_text(json.dumps(tiny_config))
    return folder


def test_of_two_trainers_one_refuses_at_once(trainers, endless):
    log = endless / "log.txt"
    pid = trainers.start(endless, "endless.json", "--run-dir", "run")
    wait_for(log, "epoch 1/")
    shutil.copy(log, endless / "first.txt")
    began = time.monotonic()
    assert trainers.run(endless, "endless.json", "--run-dir", "run") == 4
    seconds = time.monotonic() - began
    said = [line for line in log.read_text().splitlines() if line.startswith("error: ")]
    assert len(said) == 1 and f"run: in use by process {pid} on " in said[0]
    assert seconds < 2, seconds
    os.kill(pid, signal.SIGTERM)
    assert trainers.wait(pid) == 143
    print(f"the second trainer refused after {seconds:.2f} s")


def test_sigterm_saves_and_the_run_goes_on_exactly(trainers, folder):
    assert trainers.run(folder, "tiny.json", "--run-dir", "whole") == 0
    pid = trainers.start(folder, "tiny.json", "--run-dir", "run")
    run = RunFolder(folder / "run")
    until = time.monotonic() + 120
    while not checkpoint_files(run.checkpoints):
        assert time.monotonic() < until
        time.sleep(0.01)
    began = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    assert trainers.wait(pid) == 143, (folder / "log.txt").read_text()
    seconds = time.monotonic() - began
    assert seconds < 10 and "SIGTERM: state saved in run" in (folder / "log.txt").read_text()
    assert trainers.run(folder, "tiny.json", "--run-dir", "run") == 0
    assert_same(outcome(run), outcome(RunFolder(folder / "whole")))
    print(f"out {seconds:.2f} s after SIGTERM")


def test_a_second_signal_ends_a_long_step_at_once():
    """Python's own handlers would wait for the step."""
    code = (
        "import ctypes, signal, types\nfrom closer_tf.common.command import Signals\n"
        "with Signals(types.SimpleNamespace(signal_number=None)):\n"
        " print('in a step', flush=True)\n"
        " while True: ctypes.CDLL(None).usleep(60_000_000)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "in a step\n"
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143 and time.monotonic() - began < 5


def test_a_disk_that_is_full_during_a_checkpoint(trainers, folder):
    """A limit on a file's size stands for the disk: checkpoints are the first files that are larger."""
    assert trainers.run(folder, "tiny.json", "--run-dir", "whole") == 0
    run = RunFolder(folder / "run")
    pid = trainers.start(folder, "tiny.json", "--run-dir", "run")
    until = time.monotonic() + 120
    while not checkpoint_files(run.checkpoints):
        assert time.monotonic() < until
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    trainers.wait(pid)
    size = checkpoint_files(run.checkpoints)[0].stat().st_size
    before = {file: file.read_bytes() for file in checkpoint_files(run.checkpoints)}
    assert trainers.run(folder, "tiny.json", "--run-dir", "run", file_limit=size - 100) == 2
    log = (folder / "log.txt").read_text()
    assert "could not be written: File too large. What was saved there before is intact." in log and "Traceback" not in log
    assert before == {file: file.read_bytes() for file in checkpoint_files(run.checkpoints)}
    assert trainers.run(folder, "tiny.json", "--run-dir", "run") == 0
    assert_same(outcome(run), outcome(RunFolder(folder / "whole")))


@pytest.mark.parametrize("deterministic", [False, True])
def test_two_processes_are_equal_to_the_bit(trainers, folder, deterministic):
    override = f"deterministic={json.dumps(deterministic)}"
    for name in ("one", "two"):
        code = trainers.run(folder, "tiny.json", "--run-dir", name, "--set", override, "--set", "training.epochs=3")
        assert code == 0, (folder / "log.txt").read_text()
    assert_same(outcome(RunFolder(folder / "one")), outcome(RunFolder(folder / "two")))
    assert RunFolder(folder / "one").load_config().deterministic is deterministic


def test_output_that_nobody_reads_any_more(tmp_path, tiny_config):
    (tmp_path / "tiny.json").write_text(json.dumps(tiny_config))
    command = f"{sys.executable} -u -m closer_tf.train tiny.json --dry-run | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 141 and done.stdout.startswith("run: ") and "Traceback" not in done.stderr
