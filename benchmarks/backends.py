"""How fast TensorFlow and JAX train the same configs, and what a compiled epoch gains over `fit`: both backends, turn by turn.

    python -m benchmarks.backends -o results/benchmarks/backends.json

Each turn is a process of its own, since Keras takes one backend per process; both backends have to be installed. Counted are
training steps alone: epochs as `closer_tf train` runs them (`epoch`), as Keras's `fit` runs them under JAX (`fit`), and, under
JAX, compiled steps one after the other on the batches of an epoch that are on the device already (`steps`). `training` is what
`closer_tf train` itself does from its second epoch on, by its own history.csv: validation, checkpoints and history included.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

CASES = {  # name -> (config, overrides, steps per epoch)
    "digits": ("quickstart", [], None),
    "mlp q=.1": ("mlp_gaussian", [], 60),
}
TRAININGS = {"digits": ("quickstart", 100, 21)}  # name -> (config, epochs, steps per epoch)
CONFIGS = Path(__file__).resolve().parents[1] / "run_configs"
SECONDS = 10.0  # a turn of one kind lasts at least so long


def main():
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.backends", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=3, help="turns of each backend (default: %(default)s)")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES), help="what to train (default: all)")
    parser.add_argument("--before", help="a checkout of an earlier version, whose `training` under JAX is timed too")
    parser.add_argument("-o", "--output", help="write every turn here (JSON)")
    parser.add_argument("--one", choices=list(CASES), help=argparse.SUPPRESS)  # what a child does
    options = parser.parse_args()
    if options.one:
        print(json.dumps(steps_per_second(options.one)))
        return
    from benchmarks.timing import OtherWork, machine

    other_work, rows = OtherWork(), []
    for case in options.cases:
        for turn in range(options.turns):
            found = {backend: _in_a_process(backend, case) for backend in ("jax", "tensorflow")}
            if case in TRAININGS:
                found["jax"]["training"] = _training(case)
                if options.before:
                    found["jax"]["training before"] = _training(case, Path(options.before).resolve())
            rows += [
                {"case": case, "turn": turn, "backend": backend, "what": what, **speed}
                for backend, speeds in found.items()
                for what, speed in speeds.items()
            ]
        for line in _summary(rows, case):
            print(line, flush=True)
    if options.output:
        content = {"machine": machine() | other_work.found(), "turns": rows}
        Path(options.output).write_text(json.dumps(content, indent=1) + "\n")


def _in_a_process(backend, case):
    command = [sys.executable, "-m", "benchmarks.backends", "--one", case]
    done = subprocess.run(command, env=_environment(backend), check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _environment(backend):
    return os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}


def _training(case, checkout=CONFIGS.parent):
    """Steps per second of `closer_tf train` under JAX from a checkout, by the median of its epochs but the first."""
    name, epochs, steps = TRAININGS[case]
    with tempfile.TemporaryDirectory() as folder:
        settings = [f"training.epochs={epochs}", "training.checkpoint_every=25", "readout.after_training=false"]
        command = [sys.executable, "-m", "closer_tf.train", str(CONFIGS / f"{name}.json"), "--run-dir", folder]
        options = [part for setting in settings for part in ("--set", setting)]
        environment = _environment("jax") | {"PYTHONPATH": str(checkout)}
        subprocess.run([*command, *options], env=environment, cwd=checkout, check=True, stdout=subprocess.DEVNULL)
        with open(Path(folder, "history.csv"), newline="") as file:
            seconds = [float(row["seconds"]) for row in csv.DictReader(file)][1:]
    return {"steps_per_second": round(steps / float(np.median(seconds)), 2), "epochs": len(seconds)}


def _summary(rows, case):
    """Lines: medians over the turns, and the ratios of JAX's epoch to the others."""
    kinds = {}
    for row in rows:
        if row["case"] == case:
            kinds.setdefault((row["backend"], row["what"]), []).append(row["steps_per_second"])
    medians = {kind: float(np.median(values)) for kind, values in kinds.items()}
    for (backend, what), median in medians.items():
        ratio = medians["jax", "epoch"] / median
        yield f"{case}: {backend} {what}: {median:.1f} steps/s; JAX's compiled epoch makes {ratio:.2f} times as many"


def steps_per_second(case):
    """dict: kind -> steps per second of a config on the present backend, after what compiles."""
    import keras

    from closer_tf.config import load_config
    from closer_tf.data.splits import Split
    from closer_tf.data.streams import batches, training_stream
    from closer_tf.training import experiment

    name, overrides, steps = CASES[case]
    config = load_config(CONFIGS / f"{name}.json", overrides)
    data = _data(config, steps)
    fields = experiment.make_receptive_fields(config, data)
    model = experiment.make_training_model(config, experiment.make_ensemble(config, fields, data), len(data.label_names))
    size, seed = config.training.batch_size, config.seeds.data_order
    split = data.train
    steps = -(-len(split) // size)

    def fit(stream):
        return lambda: model.fit(stream, steps_per_epoch=steps, shuffle=False, verbose=0)

    if keras.backend.backend() != "jax":
        return {"epoch": _speed(fit(training_stream(split, size, seed)), steps)}
    from closer_tf.nn.jax import CompiledSteps

    none = Split(split.inputs[:0], split.labels[:0])
    compiled = CompiledSteps(model, [split], [none], size, [seed])
    found = {
        "epoch": _speed(lambda: compiled.fit(0, 1), steps),
        "steps": _speed(_bare_steps(compiled.computed, split, size), steps),
    }
    return found | {"fit": _speed(fit(batches(split, size, seed)), steps)}


def _data(config, steps):
    """The config's data; random images of CIFAR's size where steps are given."""
    from types import SimpleNamespace

    from closer_tf.data.splits import Split
    from closer_tf.training import experiment

    if steps is None:
        return experiment.load_splits(config)
    rng, count = np.random.default_rng(0), steps * config.training.batch_size - 50  # the last batch is a partial one
    train = Split(rng.integers(0, 256, (count, 32, 32, 3), dtype="uint8"), rng.integers(0, 10, count))
    names = tuple("0123456789")
    return SimpleNamespace(
        train=train, input_shape=(32, 32, 3), input_scale=1 / 255, label_names=names, unit_areas=(), name="cifar10"
    )


def _bare_steps(model, split, size):
    """A function that takes an epoch's compiled steps one after the other, on batches that are on the device, and waits.

    Args:
        model: what is computed: a `CLoSeR` model, or `FusedEnsembles` of one.
        split: `Split`.
        size: samples per step.
    """
    import jax
    import jax.numpy as jnp

    from closer_tf.nn.fused_model import FusedEnsembles

    groups = model.trainable_variables, model.non_trainable_variables, model.optimizer.variables, model.metrics_variables
    step = jax.jit(model.train_step, donate_argnums=0)
    state = [tuple([jnp.array(variable.value) for variable in group] for group in groups)]
    front = (None,) if isinstance(model, FusedEnsembles) else ()  # an axis for the run
    ready = [
        (jnp.asarray(split.inputs[k : k + size])[front], jnp.asarray(split.labels[k : k + size].astype("int32"))[front])
        for k in range(0, len(split), size)
    ]

    def run():
        for batch in ready:
            _, state[0] = step(state[0], batch)
        jax.block_until_ready(state[0])

    return run


def _speed(epoch, steps):
    """dict: steps per second of a function that trains an epoch, and how many epochs were counted."""
    epoch()
    began, epochs = time.perf_counter(), 0
    while (seconds := time.perf_counter() - began) < SECONDS:
        epoch()
        epochs += 1
    return {"steps_per_second": round(epochs * steps / seconds, 2), "epochs": epochs}


if __name__ == "__main__":
    main()
