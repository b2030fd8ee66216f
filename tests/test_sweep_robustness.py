"""A sweep on two workers, one of them killed on the way and the whole stopped once, beside the same runs one after another.

$CLOSER_TF_SWEEP_RUNS sets how many trainings (default 3); $CLOSER_TF_SWEEP_REPORT a JSON file that takes what was counted.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from trainers import Trainers

from closer_tf.common.backend import versions
from closer_tf.sweeps.config import parse_sweep
from closer_tf.sweeps.points import sweep_points
from closer_tf.training.checkpoints import checkpoint_files
from closer_tf.training.runs import RunFolder

RUNS = int(os.environ.get("CLOSER_TF_SWEEP_RUNS", 3))
EPOCHS, EVERY = 24, 4
PATIENCE = 120 + 30 * RUNS


SWEEP = {
    "base": {
        "num_encoders": 3,
        "dataset": {"name": "digits"},
        "augmentation": {"rotation": 0.02, "zoom": 0.1},
        "masks": {"scheme": "gaussian", "fraction": 0.25},
        "encoder": {"type": "mlp", "hidden": [8], "embedding_dim": 4, "dropout": 0.2},
        "training": {"epochs": EPOCHS, "batch_size": 32, "checkpoint_every": EVERY},
        "readout": {"C": [0.01, 1.0], "max_iter": 20, "pseudo_likelihood_draws": 2},
    },
    "seeds": list(range(RUNS)),
    "baselines": [],
    "retries": 1,
}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The runs of the sweep, made one after another, each in a process of its own: (their folder, seconds)."""
    folder = tmp_path_factory.mktemp("alone")
    began = time.monotonic()
    with pytest.MonkeyPatch.context() as environment:
        for name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS"):
            environment.setenv(name, "1")
        with Trainers() as trainers:
            for point in sweep_points(parse_sweep(SWEEP)):
                (folder / "config.json").write_text(point.config.to_json())
                assert trainers.run(folder, "config.json", "--run-dir", point.name) == 0
    return folder, time.monotonic() - began


@contextlib.contextmanager
def tcp_cluster(folder):
    """Context with the address of a Dask scheduler that has two workers, each a process of its own."""
    python = [sys.executable, "-m"]
    about = folder / "scheduler.json"
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(about)]
    with open(folder / "cluster.log", "w") as log, contextlib.ExitStack() as started:

        def start(*arguments):
            process = subprocess.Popen([*python, *arguments], stdout=log, stderr=log, start_new_session=True)
            started.callback(process.wait)
            started.callback(process.terminate)

        start("distributed.cli.dask_scheduler", *options)
        wait_for(about.exists)
        address = json.loads(about.read_text())["address"]
        for name in ("one", "two"):
            start("distributed.cli.dask_worker", address, "--nthreads", "1", "--name", name, "--no-dashboard")
        yield address


def wait_for(found, seconds=PATIENCE):
    """Wait until a function returns something true, and return that."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := found():
            return result
        time.sleep(0.05)
    raise AssertionError(f"nothing happened in {seconds} s")


def trainings(runs_dir):
    """The processes that train into a folder now, as a dict run folder -> process."""
    found = {}
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if "closer_tf.sweeps.training" in command and command[-1].startswith(str(runs_dir)):
            found[Path(command[-1])] = process
    return found


def halfway(runs_dir):
    """(run folder, process) of a training that has a checkpoint and is not done, or None."""
    for run, process in trainings(runs_dir).items():
        files = checkpoint_files(run / "checkpoints")
        if files and not files[0].name.startswith(f"epoch-{EPOCHS:05d}") and process.is_running():
            return run, process
    return None


def lose(training, machine):
    """Kill the worker of a training, whose point goes on elsewhere; the training itself too where the machine is lost."""
    worker = training.parent()
    if machine:
        worker.suspend()
        training.kill()
    worker.kill()


def done(runs_dir):
    """Names of the runs that the record says are done."""
    record = runs_dir / "digits.sweep.json"
    points = json.loads(record.read_text())["points"] if record.exists() else []
    return [point["run"] for point in points if point["state"] == "done"]


def final_weights(run_dir):
    """The arrays of a run's last checkpoint."""
    with np.load(checkpoint_files(run_dir / "checkpoints")[0]) as stored:
        return {key: stored[key] for key in stored.files if key.startswith("variable_")}


def history(run_dir):
    """A run's history without the times."""
    return [{key: value for key, value in row.items() if key != "seconds"} for row in RunFolder(run_dir).read_history()]


@pytest.mark.slow
@pytest.mark.timeout(600 + 60 * RUNS)
@pytest.mark.parametrize("where", ["local", "tcp"])
def test_a_killed_worker_and_a_stop_change_nothing(alone, where, tmp_path):
    points = sweep_points(parse_sweep(SWEEP))
    folder, alone_seconds = alone
    file, runs_dir = tmp_path / "digits.json", tmp_path / "runs"
    file.write_text(json.dumps(SWEEP))
    began = time.monotonic()
    with tcp_cluster(tmp_path) if where == "tcp" else contextlib.nullcontext() as address:
        there = ["--scheduler", address] if address else ["--workers", "2"]
        arguments = ["-m", "closer_tf.sweep", str(file), "--runs-dir", str(runs_dir), "--threads", "1", *there]

        def start():
            with open(tmp_path / "sweep.log", "a") as log:
                return subprocess.Popen([sys.executable, *arguments], stdout=log, stderr=log, start_new_session=True)

        command = start()
        killed, process = wait_for(lambda: halfway(runs_dir))
        lose(process, machine=where == "tcp")
        wait_for(lambda: len(done(runs_dir)) >= -(-len(points) // 3))
        wait_for(lambda: halfway(runs_dir))
        stopped = len(trainings(runs_dir))
        os.killpg(command.pid, signal.SIGINT)  # as Ctrl-C does, to all processes of the terminal
        assert command.wait(PATIENCE) == 130
        assert not trainings(runs_dir)
        done_before = done(runs_dir)
        command = start()
        assert command.wait(PATIENCE) == 0
    seconds = time.monotonic() - began
    record = json.loads((runs_dir / "digits.sweep.json").read_text())
    said = {point["run"]: point for point in record["points"]}
    assert len(said) == len(points) and all(point["state"] == "done" for point in said.values())
    assert done_before and all(said[name]["tries"] == 0 for name in done_before)  # what was done was skipped

    begun, twice = 0, 0
    for point in points:
        ours, theirs = runs_dir / point.name, folder / point.name
        log = (runs_dir / "logs" / f"{point.name}.log").read_text()
        epochs = [int(k) for k in re.findall(rf"^epoch (\d+)/{EPOCHS} ", log, re.MULTILINE)]
        begun_here = len(re.findall("^run: ", log, re.MULTILINE))
        assert EPOCHS - len(set(epochs)) < begun_here  # a training that stops at an epoch's end saves it and prints no line
        again = len(epochs) - len(set(epochs))
        assert again <= (EVERY if where == "tcp" and point.name == killed.name else 0), point.name
        begun, twice = begun + begun_here, twice + again
        weights = [final_weights(run_dir) for run_dir in (ours, theirs)]
        assert weights[0].keys() == weights[1].keys()
        assert all(np.array_equal(weights[0][key], weights[1][key]) for key in weights[0]), point.name
        assert history(ours) == history(theirs)
        results = [RunFolder(run_dir).read_results() for run_dir in (ours, theirs)]
        assert results[0]["accuracy"] == results[1]["accuracy"] and results[0]["probes"] == results[1]["probes"]
    assert len(list(runs_dir.glob("*/config.json"))) == len(points)
    assert len(points) + 1 <= begun <= len(points) + 1 + stopped  # the killed one and those that were stopped began again
    report = {
        "where": where,
        "runs": len(points),
        "epochs_each": EPOCHS,
        "killed": "a worker and its training" if where == "tcp" else "a worker",
        "killed_while_training": killed.name,
        "done_when_stopped": len(done_before),
        "training_when_stopped": stopped,
        "trainings_begun": begun,
        "epochs_trained": EPOCHS * len(points),
        "whole_epochs_trained_twice": twice,
        "epochs_between_checkpoints": EVERY,
        "runs_lost": 0,
        "weights_histories_and_readouts_equal_to_the_bit": len(points),
        "seconds": round(seconds, 1),
        "seconds_one_after_another": round(alone_seconds, 1),
    }
    if "CLOSER_TF_SWEEP_REPORT" in os.environ:
        _note(Path(os.environ["CLOSER_TF_SWEEP_REPORT"]), report)


def _note(file, report):
    content = json.loads(file.read_text()) if file.exists() else {"sweeps": []}
    content["command"] = f"CLOSER_TF_SWEEP_RUNS={RUNS} python -m pytest tests/test_sweep_robustness.py"
    content["versions"] = versions() | {name: __import__(name).__version__ for name in ("dask", "distributed")}
    content["sweeps"] = [*(one for one in content["sweeps"] if one["where"] != report["where"]), report]
    file.write_text(json.dumps(content, indent=1) + "\n")
