"""A stay of some seconds on digits: what is chosen, what is left behind when it is cut off, and that parts make files again."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from benchmarks.full_length import choose, join_stay, predicted, split_stay

TIMES = {2: {"compile_s": 40.0, "epoch_s": 0.2}, 4: {"compile_s": 50.0, "epoch_s": 0.36}}


@pytest.mark.parametrize(
    "seconds, both, runs",
    [(1000, False, 8), (500, False, 4), (200, False, 1), (100, False, 1), (1000, True, 4), (600, True, 2), (400, True, 3)],
)
def test_as_many_seeds_as_reach_the_end(seconds, both, runs):
    found = choose(TIMES, seconds, 1000, both)
    assert found == runs
    if seconds > 100:
        assert predicted(TIMES, found, 1000) <= seconds


def test_parts_make_the_files_again(tmp_path):
    stay, rng = tmp_path / "stay", np.random.default_rng(0)
    folder = stay / "closer" / "seed_0"
    (folder / "checkpoints").mkdir(parents=True)
    (stay / "compiled").mkdir()
    (stay / "progress.json").write_text("{}")
    (folder / "config.json").write_text("{}")
    large = {name: rng.bytes(size) for name, size in (("ensemble.keras", 5_000_000), ("checkpoints/epoch-1.npz", 3_000_000))}
    for name, content in large.items():
        (folder / name).write_bytes(content)
    (stay / "compiled" / "program").write_bytes(rng.bytes(2_000_000))
    split_stay(stay, tmp_path / "parts", mib=1.5)
    sizes = [path.stat().st_size for path in (tmp_path / "parts").iterdir()]
    assert max(sizes) <= 1.5 * 2**20 and len(sizes) == 4 + 2
    assert join_stay(tmp_path / "parts", tmp_path / "runs") == 0
    found = {path.relative_to(tmp_path / "runs").as_posix() for path in (tmp_path / "runs").rglob("*") if path.is_file()}
    assert found == {"progress.json", "closer/seed_0/config.json", "closer/seed_0/ensemble.keras"}
    assert (tmp_path / "runs/closer/seed_0/ensemble.keras").read_bytes() == large["ensemble.keras"]
    split_stay(stay, tmp_path / "with", mib=1.5, checkpoints=True)
    assert join_stay(tmp_path / "with", tmp_path / "again") == 0
    assert (tmp_path / "again/closer/seed_0/checkpoints/epoch-1.npz").read_bytes() == large["checkpoints/epoch-1.npz"]
    part = tmp_path / "parts" / "closer-seed_0-ensemble.keras.part-1"
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    assert join_stay(tmp_path / "parts", tmp_path / "damaged") == 2
    part.unlink()
    assert join_stay(tmp_path / "parts", tmp_path / "absent") == 2
    assert not (tmp_path / "absent/closer/seed_0/ensemble.keras").exists()


def stay(folder, minutes, epochs, kill_after=None):
    """Run a stay on digits in a process of its own; returns its exit code and progress.json."""
    small = ["num_encoders=3", "encoder.hidden=[16]", "encoder.embedding_dim=8", f"training.epochs={epochs}"]
    command = [sys.executable, "-m", "benchmarks.full_length", "run", "--config", "run_configs/quickstart.json"]
    command += ["--minutes", str(minutes), "--out", str(folder), "--try-seeds", "1", "2", "--precision", "float32"]
    command += [word for override in small for word in ("--set", override)]
    with subprocess.Popen(command, env=os.environ | {"KERAS_BACKEND": "jax"}) as process:
        if kill_after is not None:
            time.sleep(kill_after)
            process.send_signal(signal.SIGKILL)
        code = process.wait()
    return code, json.loads((folder / "progress.json").read_text())["stages"] if (folder / "progress.json").exists() else []


@pytest.mark.jax
@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "jax", reason="needs KERAS_BACKEND=jax")
def test_a_minute_that_is_cut_off_and_another(tmp_path):
    from closer_tf.evaluate import evaluate_run
    from closer_tf.training.runs import RunFolder

    _, reached = stay(tmp_path / "stay", 1, 1_000_000, kill_after=random.Random(time.time()).uniform(5, 50))
    print("cut off after", [each["stage"] for each in reached])
    began = time.monotonic()
    code, reached = stay(tmp_path / "stay", 1, 1_000_000)
    assert code == 0 and time.monotonic() - began < 62
    names = [each["stage"] for each in reached]
    assert names[0] == "started" and "timed" in names and names[-1] in ("trained", "left out")
    split_stay(tmp_path / "stay", tmp_path / "parts", mib=0.05)
    assert join_stay(tmp_path / "parts", tmp_path / "runs") == 0
    folder = tmp_path / "runs" / "closer" / "seed_0"
    epochs = len(RunFolder(folder).read_history())
    results = evaluate_run(folder, overrides=["readout.C=[0.01]", "readout.conditions=[]"])
    assert results["epochs"] == epochs > 0 and results["accuracy"]["closer"]["single"]["test"] > 0.2
