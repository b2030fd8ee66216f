"""closer_tf under Keras's JAX backend where TensorFlow is not installed; and where nothing is that Keras could compute with.

Where TensorFlow is installed, its import is made to fail in the processes that are begun here.
"""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from closer_tf.common import backend
from closer_tf.errors import BackendError
from closer_tf.training.checkpoints import checkpoint_files, load_checkpoint

pytestmark = pytest.mark.jax

needs_jax = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="pip install 'closer_tf[jax]'")

COMMANDS = """
import contextlib, io, json, sys

class Without:  # a finder of modules that does not find some
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, *args):
        return None if name.partition(".")[0] in {blocked!r} else self.finder.find_spec(name, *args)

sys.meta_path[:] = map(Without, sys.meta_path)
from closer_tf.cli import main
for arguments in {commands!r}:
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        code = main(arguments)
    print(json.dumps([code, output.getvalue(), errors.getvalue()]))
"""
TENSORFLOW = ["tensorflow", "tensorflow_datasets"]


def start(commands, folder, blocked=TENSORFLOW, **environment):
    """A process that runs commands of closer_tf one after another and prints [exit code, output, errors] of each."""
    code = COMMANDS.format(blocked=blocked, commands=[[str(part) for part in command] for command in commands])
    environment = {key: value for key, value in {**os.environ, **environment}.items() if value is not None}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", code], cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True)


def run(commands, folder, **options):
    """[exit code, output, errors] of each command, and what the process wrote to its standard error besides."""
    process = start(commands, folder, **{"KERAS_BACKEND": "jax", **options})
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    return [json.loads(line) for line in output.splitlines()], errors


@pytest.fixture
def tiny(tmp_path, tiny_config):
    tiny_config["training"]["epochs"] = 2
    tiny_config["readout"] |= {"conditions": [], "pseudo_likelihood_draws": 1}
    (tmp_path / "tiny.json").write_text(json.dumps(tiny_config))
    return tmp_path


@needs_jax
def test_every_command_runs_without_a_warning(tiny):
    commands = {
        "train": ["train", "tiny.json", "--run-dir", "run"],
        "train-fused": ["train-fused", "tiny.json", "--seeds", "0,1", "--runs-dir", "fused", "--set", "condition=supervised"],
        "evaluate": ["evaluate", "run", "--set", 'readout.conditions=["masked_input", "untrained"]'],
        "summary": ["summary", "run", "fused/seed_0", "-o", "summary"],
        "report": ["report", "run", "fused/seed_0", "fused/seed_1", "-o", "report.html"],
        "doctor": ["doctor", "--data-dir", "."],
        "export": ["export", "run", "--to", "exported", "--keras-only"],
        "SavedModel": ["export", "run", "--to", "not_made"],
        "cifar10": ["train", "tiny.json", "--run-dir", "cifar", "--set", 'dataset={"name": "cifar10", "data_dir": "."}'],
        "mirrored": ["train", "tiny.json", "--run-dir", "mirrored", "--set", "compute.distribution=mirrored"],
    }
    results, noise = run(commands.values(), tiny)
    found = dict(zip(commands, results))
    refused = ("SavedModel", "cifar10", "mirrored")
    for name, (code, _, errors) in found.items():
        assert (code, errors if name not in refused else "") == (2 if name in refused else 0, ""), (name, errors)
    assert noise == ""
    assert "need TensorFlow as Keras's backend, found 'jax'" in found["SavedModel"][2]
    assert "--keras-only" in found["SavedModel"][2] and not (tiny / "not_made").exists()
    assert "no cifar10.npz in " in found["cifar10"][2] and found["cifar10"][2].count("\n") == 1
    assert "expected 'none' under Keras's backend 'jax'" in found["mirrored"][2]
    doctor = {line[9:41].strip(): (line[:8].strip(), line[42:]) for line in found["doctor"][1].splitlines()}
    assert doctor["Keras"][0] == "ok" and "backend jax" in doctor["Keras"][1] and "GPU" in doctor
    assert "missing" not in {state for state, _ in doctor.values()}
    card = json.loads((tiny / "exported" / "model_card.json").read_text())
    assert set(card["files"]) == {"ensemble.keras"} and card["parity"]["differences"]["keras"]["found"] <= 1e-6
    for folder, conditions in (("run", {"masked_input", "untrained", "closer"}), ("fused/seed_1", {"supervised"})):
        results = json.loads((tiny / folder / "results.json").read_text())
        assert results["epochs"] == 2 and set(results["accuracy"]) == conditions


@needs_jax
def test_a_killed_training_goes_on_to_the_same_weights(tiny):
    train = ["train", "tiny.json", "--set", "training.epochs=5", "--set", "training.checkpoint_minutes=0.0005", "--run-dir"]
    killed = start([[*train, "killed"]], tiny, KERAS_BACKEND="jax")
    folder = tiny / "killed" / "checkpoints"
    while killed.poll() is None and len(checkpoint_files(folder)) < 2:
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL and load_checkpoint(checkpoint_files(folder)[0]).epoch < 5
    ((code, said, _), (other, _, _)), noise = run([[*train, "killed"], [*train, "whole"]], tiny)
    assert (code, other, noise) == (0, 0, "") and "going on after epoch" in said
    last, whole = (load_checkpoint(checkpoint_files(tiny / name / "checkpoints")[0]) for name in ("killed", "whole"))
    assert (last.epoch, last.step) == (whole.epoch, whole.step) == (5, 0)
    for a, b in zip(last.arrays, whole.arrays):
        np.testing.assert_array_equal(a, b)


@needs_jax
def test_the_installed_backend_is_taken_by_itself(tiny):
    ((code, output, errors),), _ = run([["doctor"]], tiny, KERAS_BACKEND=None, KERAS_HOME=str(tiny))
    assert code == 0 and "backend jax" in output
    assert re.fullmatch(r"note: computing with JAX, .* set KERAS_BACKEND=jax .*\n", errors)


@pytest.mark.parametrize("asked", [None, "tensorflow", "jax"])
def test_without_any_backend_one_line_says_what_to_install(tiny, asked):
    blocked = [*TENSORFLOW, "jax"]
    commands = [["train", "tiny.json"], ["evaluate", "run"], ["doctor"]]
    ((code, _, errors), second, doctor), noise = run(commands, tiny, blocked=blocked, KERAS_BACKEND=asked)
    assert (code, second[0], doctor[0], noise) == (2, 2, 2, "") and errors == second[2] and errors.count("\n") == 1
    assert "neither" in errors and "pip install 'closer_tf[tensorflow]' or pip install 'closer_tf[jax]'" in errors
    assert "missing  Keras and its backend" in doctor[1] and not (tiny / "runs").exists()


@pytest.mark.parametrize(
    "installed, variable, file, chosen",
    [
        (["tensorflow", "jax"], None, None, None),  # Keras's own default
        (["jax"], None, None, "jax"),
        (["jax"], None, "tensorflow", "jax"),  # Keras writes that file by itself
        (["jax"], None, "jax", None),
        (["tensorflow"], None, "jax", "tensorflow"),
        (["jax"], "tensorflow", None, None),  # was asked for
        ([], None, None, None),
        (["torch", "jax"], None, "torch", None),
    ],
)
def test_the_choice_of_a_backend(installed, variable, file, chosen, monkeypatch, tmp_path):
    monkeypatch.setattr(backend, "is_installed", lambda name: name in installed)
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_BACKEND", variable or "")
    if file:
        (tmp_path / "keras.json").write_text(json.dumps({"backend": file}))
    assert backend.choose_backend() == chosen
    assert os.environ["KERAS_BACKEND"] == (chosen or variable or "")


def test_a_backend_that_is_asked_for_and_absent(monkeypatch):
    monkeypatch.setattr(backend, "is_installed", lambda name: name == "jax")
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    for name, said in {"tensorflow": "TensorFlow", "theano": "'theano'"}.items():
        monkeypatch.setenv("KERAS_BACKEND", name)
        with pytest.raises(BackendError, match=f"KERAS_BACKEND={name}: {said} is not installed here; set KERAS_BACKEND=jax"):
            backend.require_backend()
