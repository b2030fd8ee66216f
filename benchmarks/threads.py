"""Threads within one operation, or operations side by side: which of the two should a machine's few cores be given to?

    python -m benchmarks.threads -o results/benchmarks/threads.json

An ensemble's encoders do not wait for each other, so that TensorFlow can compute several at a time, each on one core
(TF_NUM_INTRAOP_THREADS=1, TF_NUM_INTEROP_THREADS=cores), where by default it divides every operation among the cores. Each
turn is a process of its own, since TensorFlow takes these once per process, and times compiled training steps of one batch.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

CASES = ("mlp q=.1", "mlp q=.1 ring", "vit q=.05", "neuronal")
CONFIGS = Path(__file__).resolve().parents[1] / "run_configs"
REPEATS = 15


def main():
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.threads", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=3, help="turns of each (default: %(default)s)")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), help="what to train (default: all)")
    parser.add_argument("-o", "--output", help="write every turn here (JSON)")
    parser.add_argument("--one", choices=CASES, help=argparse.SUPPRESS)  # what a child does
    options = parser.parse_args()
    if options.one:
        print(json.dumps(turn(options.one)))
        return
    from benchmarks.timing import OtherWork, machine

    other_work, rows = OtherWork(), []
    for case in options.cases:
        for k in range(options.turns):
            rows += [{"case": case, "turn": k, "threads": name, **_in_a_process(case, of)} for name, of in settings().items()]
        for line in _summary(rows, case):
            print(line, flush=True)
    if options.output:
        content = {"machine": machine() | other_work.found(), "settings": settings(), "turns": rows}
        Path(options.output).write_text(json.dumps(content, indent=1) + "\n")


def settings():
    """dict: name -> environment variables."""
    cores = len(os.sched_getaffinity(0))
    return {
        "within each operation": {"TF_NUM_INTRAOP_THREADS": f"{cores}", "TF_NUM_INTEROP_THREADS": f"{cores}"},
        "operations side by side": {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": f"{cores}"},
    }


def _in_a_process(case, variables):
    command = [sys.executable, "-m", "benchmarks.threads", "--one", case]
    environment = os.environ | variables | {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def turn(case):
    """One turn: median, spread and every repeat of a training step, in milliseconds."""
    from benchmarks import step
    from benchmarks.backend import bare_step
    from benchmarks.timing import interleaved, summary

    name, overrides = step.CASES[case]
    model, batch = step.ready(CONFIGS / f"{name}.json", overrides)
    return summary(interleaved({"step": bare_step(model, batch)}, REPEATS, budget_s=10.0)["step"])


def _summary(rows, case):
    """Lines: medians over the turns, and how much of the time by default the other way takes."""
    medians = {
        name: float(np.median([row["median_ms"] for row in rows if row["case"] == case and row["threads"] == name]))
        for name in settings()
    }
    default, other = medians
    for name, median in medians.items():
        yield f"{case}: threads {name}: {median:.1f} ms"
    yield f"{case}: {other} take {medians[other] / medians[default]:.2f} times as long"


if __name__ == "__main__":
    main()
