"""Train an ensemble from a run config: `python -m closer_tf.train CONFIG.json`."""

import argparse
import contextlib
import importlib.util
import re
import time
import warnings
from pathlib import Path

from closer_tf.command import add_overrides, add_version, run_command
from closer_tf.config import TRAINED_CONDITIONS, load_config
from closer_tf.errors import CloserWarning, ConfigError
from closer_tf.memory import peak_memory_gb
from closer_tf.runs import RunFolder
from closer_tf.versions import versions

EPILOG = """examples:
  python -m closer_tf.train run_configs/quickstart.json
  python -m closer_tf.train run_configs/mlp_gaussian.json --set training.epochs=20 --set seed=1 --run-dir runs/short
  python -m closer_tf.train run_configs/mlp_gaussian.json --dry-run

The same command on the same folder goes on where it stopped. Ctrl-C stops after the current step and saves; a second one stops
at once. After a loss that was not finite (exit code 3), the same command with a smaller --set optimizer.learning_rate=... goes
on from the last good checkpoint.
exit codes: 0 done, 2 a mistake that the message explains, 3 the loss or a weight is not finite, 130 stopped by Ctrl-C, 143 by
SIGTERM (both saved)."""


def main(arguments=None):
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m closer_tf.train",
        description="Train a CLoSeR ensemble from a run config and read out what it learned.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", help="a run config (JSON)")
    add_overrides(parser, "override any key of the config, such as training.epochs=20; can be repeated")
    parser.add_argument("--run-dir", help="the run folder (default: runs/<name of the config>)")
    parser.add_argument(
        "--dry-run", action="store_true", help="check and build everything, say what would run and how long, train nothing"
    )
    parser.add_argument(
        "--tensorboard", action="store_true", help="also write scalars, pictures and embeddings to RUN_DIR/tensorboard"
    )
    add_version(parser)
    options = parser.parse_args(arguments)
    return run_command(lambda: _main(options), needs_keras=False)


def _main(options):
    """Do what the command line asks; returns the exit code."""
    from closer_tf.quiet import import_keras

    config = load_config(options.config, options.overrides)
    run_dir = options.run_dir or Path("runs") / re.sub(r"\W+", "_", Path(options.config).stem)
    run = RunFolder(run_dir)
    run.check(config)  # most mistakes show before anything slow
    if not options.dry_run:
        run.refuse_if_held()
    import_keras()
    from closer_tf.loop import Interrupted

    try:
        if options.dry_run:
            dry_run(config, run_dir)
        else:
            train_run(config, run_dir, tensorboard=options.tensorboard)
    except ConfigError as error:
        raise ConfigError(f"{options.config}: {error}") from None
    except Interrupted as stop:
        print(f"{stop}: state saved in {run_dir}; the same command goes on from here.")
        return 128 + stop.signal_number
    return 0


def train_run(config, run_dir, callbacks=(), tensorboard=False):
    """Train an ensemble, or go on with a run that was begun, then read it out.

    Args:
        config: resolved `RunConfig`.
        run_dir: the run folder; made if need be.
        callbacks: Keras callbacks of your own. They may look on; what changes weights or stops the training makes the run
            another one than its config says.
        tensorboard: write what TensorBoard shows to the run folder's `tensorboard`.

    Returns:
        dict, the content of results.json; empty if the config asks for no readout.

    Raises:
        ConfigError, DataError: before anything is written.
        RunError: the folder holds a run of another config, is in use, or cannot be written to.
        DivergedError: the loss or a weight is not finite.
        closer_tf.loop.Interrupted: the process was asked to stop; everything is saved.
    """
    from closer_tf import experiment, plots
    from closer_tf.checkpoints import latest_checkpoint
    from closer_tf.determinism import make_deterministic
    from closer_tf.evaluate import readout
    from closer_tf.files import write_with
    from closer_tf.loop import run_training, steps_per_epoch
    from closer_tf.progress_lines import ProgressLines

    run = RunFolder(run_dir)
    exists = run.check(config)
    if config.deterministic:
        make_deterministic()
    data = experiment.load_splits(config)
    fields = run.load_masks() if exists else experiment.make_receptive_fields(config, data)
    experiment.check_units(fields, data)
    with experiment.on_devices(config):
        ensemble = experiment.make_ensemble(config, fields, data)
        model = experiment.make_training_model(config, ensemble, len(data.label_names))
    with run.opened(config, fields):
        _describe(config, data, fields, ensemble, run)
        _draw_set_up(run, data, fields, model)
        if config.condition in TRAINED_CONDITIONS:
            checkpoint = latest_checkpoint(run.checkpoints, run.digests(config))
            if checkpoint is not None:
                print(f"going on from epoch {checkpoint.epoch}, step {checkpoint.step}")
                _compare_versions(checkpoint.versions)
            steps = steps_per_epoch(data.train, config.training.batch_size)
            with contextlib.ExitStack() as watched:
                lines = watched.enter_context(ProgressLines(config.training.epochs, steps))
                board = [watched.enter_context(_board(run, data, fields, model, ensemble))] if tensorboard else []
                run_training(model, data, config, run, checkpoint, callbacks=[lines, *board, *callbacks])
        write_with(run.ensemble_file, ensemble.save)
        history = run.read_history()
        if history:
            plots.save(plots.plot_training_curves(history), run.figures / "training_curves.png")
        if not config.readout.after_training:
            return {}
        results = readout(run, config, data)
        print(f"results: {run.results_file}, pictures: {run.figures}")
        return results


def _compare_versions(then):
    """Say when a run goes on under other versions than it was begun with."""
    now = versions()
    differing = [
        f"{name} {then.get(name)} -> {now.get(name)}" for name in sorted({*then, *now}) if then.get(name) != now.get(name)
    ]
    if differing:
        message = f"other versions than the checkpoint's, so not the same to the bit: {', '.join(differing)}"
        warnings.warn(message, CloserWarning, stacklevel=2)


def _board(run, data, fields, model, ensemble):
    if importlib.util.find_spec("tensorboard") is None:
        raise ConfigError("--tensorboard: TensorBoard is not installed: pip install tensorboard")
    from closer_tf.tensorboard import RunBoard

    pictures = {} if data.unit_areas else {"receptive_fields": fields.plot(data.train.inputs[0])}
    if hasattr(model.loss, "graph"):
        pictures["interaction_graph"] = model.loss.graph.plot(fields.labels)
    return RunBoard(run.path / "tensorboard", ensemble, data.current().test, data.label_names, pictures)


def _draw_set_up(run, data, fields, model):
    from closer_tf import plots

    if not data.unit_areas and not (run.figures / "receptive_fields.png").exists():
        plots.save(fields.plot(data.train.inputs[0]), run.figures / "receptive_fields.png")
    if hasattr(model.loss, "graph") and not (run.figures / "interaction_graph.png").exists():
        plots.save(model.loss.graph.plot(fields.labels), run.figures / "interaction_graph.png")


def dry_run(config, run_dir, timed_steps=5):
    """Check and build everything a run needs, time a few throw-away steps, and say what would run. Writes nothing.

    Args:
        config: resolved `RunConfig`.
        run_dir: the run folder that would be used.
        timed_steps: steps to time.
    """
    from closer_tf import experiment
    from closer_tf.determinism import make_deterministic
    from closer_tf.loop import steps_per_epoch, training_stream
    from closer_tf.progress import duration

    run = RunFolder(run_dir)
    run.check(config)
    if config.deterministic:
        make_deterministic()
    data = experiment.load_splits(config)
    fields = experiment.make_receptive_fields(config, data)
    experiment.check_units(fields, data)
    with experiment.on_devices(config):
        ensemble = experiment.make_ensemble(config, fields, data)
        model = experiment.make_training_model(config, ensemble, len(data.label_names))
    _describe(config, data, fields, ensemble, run)
    if config.condition not in TRAINED_CONDITIONS:
        print("dry run: nothing was read out or written.")
        return
    stream = training_stream(data.train, config.training.batch_size, config.seeds.data_order)
    model.fit(stream, steps_per_epoch=2, verbose=0, shuffle=False)
    began = time.perf_counter()
    model.fit(stream, steps_per_epoch=timed_steps, verbose=0, shuffle=False)
    step = (time.perf_counter() - began) / timed_steps
    steps = steps_per_epoch(data.train, config.training.batch_size)
    disk = 3 * 4 * ensemble.count_params() * (config.training.keep_checkpoints + 1) / 2**30
    samples = len(data.train) + len(data.validation) + len(data.test)
    probe = 12 * samples * ensemble.output_shape[1] * ensemble.output_shape[2] / 2**30  # float32, and z-scored in float64
    print(
        f"time: {step * 1000:.0f} ms per step on this machine ({timed_steps} throw-away steps), "
        f"{duration(step * steps)} per epoch, {duration(step * steps * config.training.epochs)} in all, readout not counted\n"
        f"memory: {peak_memory_gb():.1f} GB so far; the readout takes about {probe:.1f} GB more\n"
        f"disk: up to {disk:.2f} GB of checkpoints\n"
        f"dry run: nothing was trained or written."
    )


def _describe(config, data, fields, model, run):
    from closer_tf.loop import steps_per_epoch

    lengths = sorted({len(cells) for cells in fields.indices})
    seen = str(lengths[0]) if len(lengths) == 1 else f"{lengths[0]} to {lengths[-1]}"
    cells = "pixels" if fields.patch_size == 1 else f"{fields.patch_size} x {fields.patch_size} patches"
    if fields.labels:
        cells = f"units per encoder, by area: {', '.join(fields.labels)}"
    else:
        cells += " per encoder"
    counts = sorted({encoder.count_params() for encoder in model.encoders})
    parameters = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    labels = f"{len(data.label_names)} labels" if data.label_names else "a number as label"
    steps = steps_per_epoch(data.train, config.training.batch_size)
    print(
        f"run: {run.path}\n"
        f"data: {data.name}, {len(data.train)} training, {len(data.validation)} validation, {len(data.test)} test samples of "
        f"shape {data.input_shape}, {labels}\n"
        f"receptive fields: {seen} of {fields.grid[0] * fields.grid[1]} {cells}\n"
        f"ensemble: {len(model.encoders)} encoders, {parameters} parameters each, {model.count_params():,} in all\n"
        f"compute: {_computing(config)}\n"
        + (
            f"training: {config.condition}, {config.training.epochs} epochs of {steps} steps, "
            f"batch {config.training.batch_size}, seed {config.seed}"
            if config.condition in TRAINED_CONDITIONS
            else f"condition: {config.condition}, nothing is trained; seed {config.seed}"
        )
    )


def _computing(config):
    """What computes, and the choices that speed it up or save memory."""
    import keras

    from closer_tf.loop import steps_per_execution

    backend, options = keras.backend.backend(), config.compute
    found = versions()
    pairs = "CLoSeR loss in blocks of at most " + f"{options.loss_memory_mb:g} MiB"
    at_once = steps_per_execution(config)
    xla = "always" if backend == "jax" else "on" if options.xla else "off"
    parts = [f"{backend} {found.get(backend, '')}".strip(), options.precision, f"XLA {xla}", "separate encoders"]
    if options.distribution == "mirrored":
        parts.append("one batch on all devices")
    if at_once > 1:
        parts.append(f"{at_once} steps per execution")
    return ", ".join([*parts, *([pairs] if config.condition == "closer" else [])])


if __name__ == "__main__":
    raise SystemExit(main())
