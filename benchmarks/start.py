"""From the start of the process to the end of the first training step, stage by stage."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

CASES = {"digits": ("quickstart", []), "mlp q=.1": ("mlp_gaussian", [])}


def measure(configs, repeats=3):
    """Seconds of each stage, in fresh processes.

    Returns:
        List of dicts: case, and per stage a list of seconds since the process began.
    """
    rows = []
    for case, (name, overrides) in CASES.items():
        runs = [_in_fresh_process(configs / f"{name}.json", overrides) for _ in range(repeats)]
        rows.append({"case": case, "seconds_since_start": {stage: [run[stage] for run in runs] for stage in runs[0]}})
        print(f"start: {case} done", flush=True)
    return rows


def _in_fresh_process(config_file, overrides):
    began = time.time()
    command = [sys.executable, "-m", "benchmarks.start", repr(began), str(config_file), *overrides]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
    return json.loads(done.stdout.splitlines()[-1])


def _main(began, config_file, *overrides):
    stages = {}

    def stage(name):
        stages[name] = round(time.time() - float(began), 2)

    import closer_tf  # noqa: F401

    stage("closer_tf imported")
    from closer_tf.common.backend import import_keras

    import_keras()
    stage("Keras imported")
    from benchmarks.step import ready

    model, batch = ready(Path(config_file), overrides)
    stage("ensemble built")
    model.train_on_batch(*batch)
    stage("first step done")
    print(json.dumps(stages))


if __name__ == "__main__":
    _main(*sys.argv[1:])
