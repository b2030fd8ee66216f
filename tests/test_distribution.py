"""One training on two devices is the training on one: `mirrored.py` does the work in processes of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from closer_tf.config import parse_config
from closer_tf.errors import ConfigError

HERE = Path(__file__).resolve().parent


def mirrored(*work):
    """What the script found, one entry per piece of work."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, str(HERE / "mirrored.py"), *work], capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith(("{", '"'))]


def check_steps(found):
    """After 50 steps in float64: weights, optimizer, generators and logs are those of one device."""
    assert found["devices"] == 2 and found["moved"] > 1e-2
    assert found["apart"] < 1e-6 and found["state_apart"] < 1e-6
    assert set(found["logs"]) == set(found["logs_of_two"]) and "val_loss" in found["logs"]
    for name, values in found["logs"].items():
        np.testing.assert_allclose(found["logs_of_two"][name], values, rtol=1e-6, err_msg=name)


def check_gradients(found):
    assert found["largest"] > 0 and found["apart"] < 1e-5 * found["largest"]


def test_two_devices_equal_one():
    gradients, draws, steps = mirrored("gradients:mlp", "draws", "double", "steps:mlp")
    check_gradients(gradients)
    check_steps(steps)
    assert draws["first_apart"] < 1e-5 and draws["devices_apart"] > 1e-2  # the first draws what one device would


@pytest.mark.slow
def test_two_devices_equal_one_for_other_encoders_and_losses():
    gradients, *steps = mirrored("gradients:vit", "double", "steps:vit", "steps:supervised", "steps:penalties")
    check_gradients(gradients)
    assert len(steps) == 3
    for found in steps:
        check_steps(found)


@pytest.mark.slow
def test_a_run_goes_on_with_and_without_a_second_device(tmp_path):
    said, found = mirrored(f"folder:{tmp_path}")
    assert said == "stopped"
    stopped, whole, alone = found["histories"]
    assert len(alone) == 3
    for rows in (stopped, whole):
        for row, expected in zip(rows, alone, strict=True):
            for name in set(expected) - {"seconds"}:
                assert row[name] == pytest.approx(expected[name], rel=1e-3), name
    np.testing.assert_allclose(found["accuracies"], found["accuracies"][-1], atol=0.02)


def mirrored_config(tiny_config, **changes):
    return parse_config({**tiny_config, "compute": {"distribution": "mirrored"}, **changes}).resolved()


def test_one_device_is_not_enough(tiny_config):
    from closer_tf.training.experiment import on_devices

    with pytest.raises(ConfigError, match="compute.distribution: 'mirrored' needs at least two devices, found .*CPU:0"):
        with on_devices(mirrored_config(tiny_config)):
            pass


def test_the_batch_divides_among_the_devices(tiny_config, monkeypatch):
    import tensorflow as tf

    from closer_tf.training.experiment import on_devices

    devices = [tf.config.LogicalDevice(f"GPU:{k}", "GPU") for k in range(3)]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: devices)
    with pytest.raises(ConfigError, match="training.batch_size: expected a multiple of the 3 devices .* found 256"):
        with on_devices(mirrored_config(tiny_config)):
            pass


def test_where_it_is_computed_makes_no_other_run(tiny_config):
    assert mirrored_config(tiny_config).digest() == parse_config(tiny_config).resolved().digest()
    with pytest.raises(ConfigError, match="compute.xla: XLA cannot compile a step of several devices"):
        parse_config({**tiny_config, "augmentation": {}, "compute": {"xla": True, "distribution": "mirrored"}})
