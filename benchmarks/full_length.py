"""The paper's full length in the few minutes that a GPU is there for; what comes back is read out on a processor.

    KERAS_BACKEND=jax python -m benchmarks.full_length run --data-dir DATA --minutes 9 --out STAY
    python -m benchmarks.full_length parts STAY --to OUT              # files of at most 15 MiB, to carry
    python -m benchmarks.full_length join OUT --to RUNS               # elsewhere: run folders again
    python -m closer_tf.evaluate RUNS/closer/seed_0 --set dataset.data_dir=DATA

`run` needs no data to begin with: it compiles from shapes, times three epochs at two numbers of seeds, chooses how many seeds
reach the last epoch in its time, waits for the data, trains CLoSeR, then the supervised condition if its time suffices, and
stops by itself before its time is over. STAY/progress.json says how far it came, and each training is a run folder like any
other: begun again in the same folder, it goes on.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import tarfile
import threading
import time
from pathlib import Path

import numpy as np

CONDITIONS = ("closer", "supervised")
TIMED_EPOCHS = 3
SAVING_S, SAVING_RUN_S = 15.0, 5.0  # kept back at the end to write what is there, and for each run
SIZES_OF_CIFAR = 45_000, 5_000  # training and validation images
MEBIBYTE = 2**20


def main(arguments=None):
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.full_length", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run", help="train as much as fits into some minutes")
    run.add_argument("--config", default="run_configs/mlp_gaussian.json", help="run config (default: %(default)s)")
    run.add_argument("--data-dir", help="folder in which cifar10.npz is or will be; it is waited for")
    run.add_argument("--minutes", type=float, required=True, help="time from the start of the command to its end")
    run.add_argument("--out", type=Path, required=True, help="folder for the run folders, progress.json and compiled programs")
    run.add_argument("--try-seeds", type=int, nargs="+", default=[2, 4], help="numbers of seeds to time (default: 2 4)")
    run.add_argument("--first-seed", type=int, default=0, help="the first seed (default: 0); another stay takes the next ones")
    run.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=list(CONDITIONS), help="what to train, in order")
    run.add_argument("--precision", default="tensorfloat32", help="compute.precision (default: %(default)s)")
    run.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="override config keys")
    run.set_defaults(work=run_stay)
    parts = commands.add_parser("parts", help="split what a stay left into files that are small enough to carry")
    parts.add_argument("stay", type=Path)
    parts.add_argument("--to", type=Path, required=True)
    parts.add_argument("--mib", type=float, default=15.0, help="most MiB per file (default: 15)")
    parts.add_argument("--checkpoints", action="store_true", help="the latest checkpoints too, to go on from")
    parts.set_defaults(work=lambda options: split_stay(options.stay, options.to, options.mib, options.checkpoints))
    join = commands.add_parser("join", help="make run folders again from such files")
    join.add_argument("parts", type=Path)
    join.add_argument("--to", type=Path, required=True)
    join.set_defaults(work=lambda options: join_stay(options.parts, options.to))
    options = parser.parse_args(arguments)
    return options.work(options) or 0


class Stay:
    """How much time is left, and what has been reached: progress.json.

    Args:
        folder: where progress.json is.
        minutes: the whole time.
    """

    def __init__(self, folder, minutes):
        folder.mkdir(parents=True, exist_ok=True)
        self.file, self.began, self.seconds = folder / "progress.json", time.monotonic(), 60 * minutes
        self.reached = {"stages": []}

    def left(self):
        """Seconds that are left to train in."""
        return self.seconds - SAVING_S - (time.monotonic() - self.began)

    def note(self, stage, **found):
        """Add a stage to progress.json, and say it."""
        from closer_tf.common.files import write_atomically

        self.reached["stages"].append({"stage": stage, "at_s": round(time.monotonic() - self.began, 1), **found})
        write_atomically(self.file, json.dumps(self.reached, indent=1) + "\n")
        print(f"{self.reached['stages'][-1]['at_s']:6.1f} s  {stage}  {found or ''}", flush=True)


def run_stay(options):
    """Time, choose and train; returns the exit code."""
    from closer_tf.common.backend import import_keras

    stay = Stay(options.out, options.minutes)
    options.out.joinpath("compiled").mkdir(exist_ok=True)
    import jax

    jax.config.update("jax_compilation_cache_dir", str(options.out.resolve() / "compiled"))
    import_keras()
    from closer_tf.common.backend import versions

    stay.note("started", device=jax.devices()[0].device_kind, versions=versions(), minutes=options.minutes)
    times = {}
    for runs in options.try_seeds:
        times[runs] = time_epochs(configs_of(options, "closer", runs))
        stay.note("timed", seeds=runs, **times[runs])
        if times[runs]["compile_s"] > stay.left() / 3:
            break  # another would eat the time to train in
    for condition in options.conditions:
        epochs = configs_of(options, condition, 1)[0].training.epochs
        both = condition == options.conditions[0] and len(options.conditions) > 1
        runs = choose(times, stay.left(), epochs, both)
        needs = predicted(times, runs, epochs)
        if condition != options.conditions[0] and needs > stay.left():
            stay.note("left out", condition=condition, needs_s=round(needs), left_s=round(stay.left()))
            continue
        stay.note("chosen", condition=condition, seeds=runs, epochs=epochs, needs_s=round(needs), left_s=round(stay.left()))
        train(options, condition, runs, stay, seconds_per_epoch(times, runs))
    return 0


def configs_of(options, condition, runs):
    """The resolved configs of the first seeds of a condition."""
    from closer_tf.config import load_config

    here = [f"dataset.data_dir={json.dumps(options.data_dir)}"] if options.data_dir else []
    settings = [f"condition={condition}", "readout.after_training=false", "training.keep_checkpoints=1"]
    settings += [f"compute.precision={options.precision}", *here, *options.overrides]
    seeds = range(options.first_seed, options.first_seed + runs)
    configs = [load_config(options.config, [*settings, f"seed={seed}"]) for seed in seeds]
    every = max(1, configs[0].training.epochs // 10)
    return [
        config.model_copy(update={"training": config.training.model_copy(update={"checkpoint_every": every})})
        for config in configs
    ]


def time_epochs(configs):
    """dict: seconds that compiling trainings in one took, and of an epoch with its validation; on stand-ins for the data."""
    from closer_tf.common.backend import products_in
    from closer_tf.nn.fused_model import FusedEnsembles
    from closer_tf.nn.jax import CompiledSteps
    from closer_tf.training import experiment

    began, data = time.perf_counter(), [stand_in(config) for config in configs]
    models = []
    for config, splits in zip(configs, data):
        fields = experiment.make_receptive_fields(config, splits)
        ensemble = experiment.make_ensemble(config, fields, splits)
        models.append(experiment.make_training_model(config, ensemble, len(splits.label_names)))
    with products_in(configs[0].compute.precision):
        model = FusedEnsembles(models) if len(models) > 1 else models[0]
        splits = [each.train for each in data], [each.validation for each in data]
        steps = CompiledSteps(model, *splits, configs[0].training.batch_size, [config.seeds.data_order for config in configs])
        steps.fit(0, 1)
        ready = time.perf_counter()
        steps.fit(0, TIMED_EPOCHS)
    return {"compile_s": round(ready - began, 1), "epoch_s": round((time.perf_counter() - ready) / TIMED_EPOCHS, 4)}


def stand_in(config):
    """Data of the config's shapes: black images where the images may not have come yet."""
    from types import SimpleNamespace

    from closer_tf.data.splits import Split
    from closer_tf.training import experiment

    if not config.dataset.name.startswith("cifar"):
        return experiment.load_splits(config)
    train, validation = (Split(np.zeros((n, 32, 32, 3), np.uint8), np.zeros(n, np.int64)) for n in SIZES_OF_CIFAR)
    names = tuple(str(k) for k in range(int(config.dataset.name.removeprefix("cifar"))))
    about = {
        "input_shape": (32, 32, 3),
        "input_scale": 1 / 255,
        "label_names": names,
        "unit_areas": (),
        "name": config.dataset.name,
    }
    return SimpleNamespace(train=train, validation=validation, **about)


def seconds_per_epoch(times, runs):
    """Of so many trainings in one: measured, or on the line through what was measured."""
    if runs in times:
        return times[runs]["epoch_s"]
    known = sorted(times)
    if len(known) == 1:
        return times[known[0]]["epoch_s"] * runs / known[0]
    slope, start = np.polyfit(known, [times[each]["epoch_s"] for each in known], 1)
    return max(0.0, float(start + slope * runs))


def predicted(times, runs, epochs):
    """Seconds until so many trainings in one have reached their last epoch, from building them on."""
    slowest = max(found["compile_s"] for found in times.values())
    building = slowest * (0.5 if runs in times else 1.0)  # what was compiled already is traced anew, and found again
    return building + 1.1 * epochs * seconds_per_epoch(times, runs) + runs * SAVING_RUN_S


def choose(times, seconds, epochs, both):
    """How many seeds to train at once: the most that are done in time, two or more with time for a second condition (`both`).

    At least 1, whose training then stops before its last epoch.
    """
    for share in (2, 1) if both else (1,):
        for runs in range(2 * max(times), 0 if share == 1 else 1, -1):
            if share * predicted(times, runs, epochs) <= seconds:
                return runs
    return 1


def train(options, condition, runs, stay, epoch_s):
    """Train as far as the time allows, and leave an ensemble.keras in each run folder."""
    import signal

    import keras

    from closer_tf.common.command import Interrupted
    from closer_tf.fused import train_fused
    from closer_tf.train import train_run
    from closer_tf.training.runs import RunFolder

    configs = configs_of(options, condition, runs)
    folders = [options.out / condition / f"seed_{config.seed}" for config in configs]
    wait_for_data(options, stay)
    reserve = 2 * epoch_s + runs * SAVING_RUN_S

    class UntilTheEnd(keras.callbacks.Callback):
        timer = None

        def on_train_begin(self, logs=None):
            stay.note("training", condition=condition)
            self.timer = threading.Timer(max(0.0, stay.left() - reserve), os.kill, (os.getpid(), signal.SIGTERM))
            self.timer.daemon = True
            self.timer.start()

        def on_train_end(self, logs=None):
            self.timer.cancel()

    watch = UntilTheEnd()
    try:
        if runs > 1:
            train_fused(configs, folders, [watch])
        else:
            train_run(configs[0], folders[0], [watch])
    except Interrupted as stop:
        print(stop)
    for config, folder in zip(configs, folders):
        leave_weights(RunFolder(folder), config)
    epochs = {folder.name: len(RunFolder(folder).read_history()) for folder in folders}
    stay.note("trained", condition=condition, epochs=epochs)


def leave_weights(run, config):
    """Write the ensemble with its latest weights and without the optimizer, which is twice as large."""
    from closer_tf.common.files import write_with
    from closer_tf.evaluate import trained_ensemble
    from closer_tf.training.experiment import load_splits, make_ensemble

    data = load_splits(config).current()
    trained, *_ = trained_ensemble(run, config, data)
    alone = make_ensemble(config, run.load_masks(), data)
    alone.set_weights(trained.get_weights())
    write_with(run.ensemble_file, alone.save)


def wait_for_data(options, stay):
    """Return when the images have come, which must be moved into place whole."""
    if options.data_dir is None:
        return
    began = time.monotonic()
    while not any(Path(options.data_dir).glob("cifar*")):
        if stay.left() <= 0:
            raise SystemExit(f"{options.data_dir}: no images came in time")
        time.sleep(0.2)
    stay.note("data is here", waited_s=round(time.monotonic() - began, 1))


def split_stay(stay, to, mib, checkpoints=False):
    """Write weights, cut into parts, and an archive of all the small files of a stay to a folder."""
    to.mkdir(parents=True, exist_ok=True)
    large, small = [], []
    for path in sorted(p for p in stay.rglob("*") if p.is_file() and "compiled" not in p.parts):
        place = path.relative_to(stay)
        if any(part.startswith(".") for part in place.parts) or (place.parent.name == "checkpoints" and not checkpoints):
            continue
        (large if path.stat().st_size > MEBIBYTE else small).append(path)
    manifest = []
    for path in large:
        content = path.read_bytes()
        size = int(mib * MEBIBYTE)
        name = re.sub(r"[^\w.-]+", "-", "-".join(path.relative_to(stay).parts))
        names = [f"{name}.part-{k}" for k in range(-(-len(content) // size))]
        for k, part in enumerate(names):
            (to / part).write_bytes(content[k * size : (k + 1) * size])
        digest = hashlib.sha256(content).hexdigest()
        manifest.append({"file": path.relative_to(stay).as_posix(), "parts": names, "sha256": digest})
    (to / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    with tarfile.open(to / "rest.tar.gz", "w:gz") as archive:
        for path in small:
            archive.add(path, path.relative_to(stay).as_posix())
    print(f"{to}: {sum(len(each['parts']) for each in manifest)} parts of {len(large)} files, and {len(small)} small files")


def join_stay(parts, to):
    """Make the run folders again, and verify every file that was in parts. A part that is missing leaves out its file."""
    to.mkdir(parents=True, exist_ok=True)
    with tarfile.open(parts / "rest.tar.gz") as archive:
        archive.extractall(to, filter="data")
    failed = 0
    for each in json.loads((parts / "manifest.json").read_text()):
        absent = [name for name in each["parts"] if not (parts / name).exists()]
        content = b"".join((parts / name).read_bytes() for name in each["parts"] if name not in absent)
        if absent or hashlib.sha256(content).hexdigest() != each["sha256"]:
            print(f"{each['file']}: left out, {', '.join(absent) or 'its content does not match its checksum'}")
            failed += 1
            continue
        path = to / each["file"]
        if not path.resolve().is_relative_to(to.resolve()):
            raise SystemExit(f"manifest.json: {each['file']} lies outside {to}")
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".writing-{path.name}")
        aside.write_bytes(content)
        shutil.move(aside, path)
        print(f"{path}: {len(content) / MEBIBYTE:.1f} MiB")
    return 2 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
