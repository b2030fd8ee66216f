"""Train an ensemble from a run config: `python -m closer_tf.train CONFIG.json`."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import re
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from closer_tf.common.backend import make_deterministic, peak_memory_gb, versions
from closer_tf.common.command import (
    add_overrides,
    add_plugins,
    add_version,
    command_parser,
    duration,
    run_command,
    run_stoppable,
)
from closer_tf.common.values import counted, load
from closer_tf.config import as_config, load_config
from closer_tf.config.composing import located_in
from closer_tf.config.conditions import CONDITIONS
from closer_tf.config.shipped import shipped_names
from closer_tf.errors import CloserWarning, ConfigError
from closer_tf.readout.features import Trained, load_trained, with_kept_weights
from closer_tf.training.runs import RunFolder, moment_in_words

if TYPE_CHECKING:
    import keras

    from closer_tf.config import RunConfig
    from closer_tf.data.splits import Splits
    from closer_tf.masks import ReceptiveFields
    from closer_tf.nn.ensemble import CLoSeR

EPILOG = """examples:
  python -m closer_tf.train run_configs/quickstart.json
  python -m closer_tf.train quickstart
  python -m closer_tf.train run_configs/mlp_gaussian.json --set training.epochs=20 --set seed=1 --run-dir runs/short
  python -m closer_tf.train run_configs/mlp_gaussian.json --dry-run
  python -m closer_tf.train run_configs/mlp_gaussian.json --set condition=supervised --resolved > mine.json

Every key that --set takes stands in docs/config.md; --resolved prints those of a config. The same command on the same folder
goes on where it stopped. Ctrl-C stops after the current step and saves; a second one stops at once. After a loss that was not
finite (exit code 3), the same command with a smaller --set optimizer.learning_rate=... goes on from the last good checkpoint.
exit codes: 0 done, 2 a mistake that the message explains, 3 the loss or a weight is not finite, 4 another process is at work on
the run folder, 130 stopped by Ctrl-C, 143 by SIGTERM (both saved)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = command_parser(
        "python -m closer_tf.train", "Train a CLoSeR ensemble from a run config and read out what it learned.", EPILOG
    )
    parser.add_argument("config", nargs="?", help="a run config (JSON), or the name of one that ships with the package")
    add_overrides(parser, "override any key of the config, such as training.epochs=20; can be repeated")
    parser.add_argument("--run-dir", help="the run folder (default: runs/<name of the config>)")
    parser.add_argument(
        "--dry-run", action="store_true", help="check and build everything, say what would run and how long, train nothing"
    )
    parser.add_argument("--list", action="store_true", help="show the run configs that ship with the package, by name")
    parser.add_argument("--resolved", action="store_true", help="print the whole config as JSON: base, --set and defaults")
    parser.add_argument(
        "--tensorboard", action="store_true", help="also write scalars, pictures and embeddings to RUN_DIR/tensorboard"
    )
    add_plugins(parser)
    add_version(parser)
    options = parser.parse_args(arguments)
    if options.config is None and not options.list:
        parser.error(f"CONFIG is required: a file, or one of {', '.join(shipped_names())}")
    return run_command(lambda: _main(options), needs_keras=False, plugins=options.plugins)


def _main(options):
    """Do what the command line asks; returns the exit code."""
    from closer_tf.common.backend import import_keras

    if options.list:
        for name in shipped_names():
            print(f"{name:34} {load_config(name).description.split('. ')[0].rstrip('.')}")
        return 0
    config = load_config(options.config, options.overrides)
    if options.resolved:
        print(config.to_json(), end="")
        return 0
    run_dir = options.run_dir or Path("runs") / re.sub(r"\W+", "_", Path(options.config).stem)
    run = RunFolder(run_dir)
    run.check(config)  # most mistakes show before anything slow
    if not options.dry_run:
        run.refuse_if_held()
    import_keras()

    def work():
        if options.dry_run:
            dry_run(config, run_dir)
        else:
            train_run(config, run_dir, tensorboard=options.tensorboard)

    return run_stoppable(work, functools.partial(located_in, options.config), run_dir)


def train_run(
    config: RunConfig | str | os.PathLike | dict[str, Any],
    run_dir: str | os.PathLike,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    tensorboard: bool = False,
) -> dict[str, Any]:
    """Train an ensemble, or go on with a run that was begun, then read it out.

    Args:
        config: `RunConfig`, as from `closer_tf.load_config(path)`; or the path itself, or its content as a dict.
        run_dir: the run folder; made if need be.
        callbacks: Keras callbacks of your own. They may look on, or stop the training by `model.stop_training`, as
            EarlyStopping does: the run is saved and read out as it is then, and the same call goes on from there to the
            config's last epoch unless it is stopped again. Weights that a callback sets after the last step are not kept.
        tensorboard: write what TensorBoard shows to the run folder's `tensorboard`.

    Returns:
        dict, the content of results.json; empty if the config asks for no readout, or the data has no labels.

    Raises:
        ConfigError, DataError: before anything is written.
        RunError: the folder holds a run of another config, is in use, or cannot be written to.
        DivergedError: the loss or a weight is not finite.
        closer_tf.common.command.Interrupted: the process was asked to stop; everything is saved.
    """
    config, run = as_config(config), RunFolder(run_dir)
    return train_prepared(config, run, *prepare(config, run), callbacks=callbacks, tensorboard=tensorboard)


def train_prepared(
    config: RunConfig,
    run: RunFolder,
    data: Splits,
    fields: ReceptiveFields,
    ensemble: CLoSeR,
    model: CLoSeR,
    untrained: CLoSeR | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    tensorboard: bool = False,
) -> dict[str, Any]:
    """Train what `prepare` has made, or go on with it, then read it out; the rest as `train_run`.

    Args:
        untrained: the ensemble at its initialisation, where the config cannot make it.
    """
    from closer_tf.data.splits import steps_per_epoch
    from closer_tf.training.checkpoints import latest_checkpoint
    from closer_tf.training.loop import ProgressLines, run_training

    with run.opened(config, fields, data):
        _describe(config, data, fields, ensemble, run)
        _draw_set_up(run, config, data, fields, model)
        if config.trains:
            checkpoint = latest_checkpoint(run.checkpoints, run.digests(config))
            steps = steps_per_epoch(len(data.train), config.training.batch_size)
            if checkpoint is not None:
                until = f", to epoch {config.training.epochs}" if checkpoint.step else f" of {config.training.epochs}"
                print(f"going on {moment_in_words(checkpoint.epoch, checkpoint.step, steps)}{until}")
                _compare_versions(checkpoint.versions)
            if checkpoint is None or checkpoint.epoch < config.training.epochs:
                run.set_aside()
            with contextlib.ExitStack() as watched:
                lines = watched.enter_context(ProgressLines(config.training.epochs, steps))
                board = [watched.enter_context(_board(run, data, fields, model, ensemble))] if tensorboard else []
                stopped = run_training(model, data, config, run, checkpoint, callbacks=[lines, *board, *callbacks])
            if stopped:
                epoch, step = stopped
                print(
                    f"a callback stopped the training {moment_in_words(epoch, step, steps)}, before its "
                    f"{config.training.epochs} epochs: state saved; what follows is of this moment, and the same call goes on "
                    "from here"
                )
            if callbacks:
                _take_back(model, run, config)
        epochs, step = run.moment()
        trained = Trained(ensemble, model, epochs, step, run.read_history()[:epochs], untrained=untrained)
        return _finish(run, config, data, with_kept_weights(trained, run, config))


def prepare(config: RunConfig, run: RunFolder, data: Splits | None = None) -> tuple[Splits, ReceptiveFields, CLoSeR, CLoSeR]:
    """Check and build everything that a run is made of; nothing is written.

    Args:
        config: resolved `RunConfig`.
        run: its `RunFolder`, which may hold what was begun.
        data: its `Splits`, where they are loaded already.

    Returns:
        (data, receptive fields, ensemble, compiled model): `Splits`, `ReceptiveFields` and two `CLoSeR` models that share their
        weights; the latter has heads where the condition needs them.

    Raises:
        ConfigError, DataError, RunError: as `train_run`.
    """
    from closer_tf.evaluate import check_readout
    from closer_tf.training import experiment
    from closer_tf.training.checkpoints import check_keep

    begun = run.check(config)
    if config.deterministic:
        make_deterministic()
    data = data or experiment.load_splits(config)
    if begun:
        run.check_data(data, config)
        run.check_masks(config)
    if config.readout.after_training:
        check_readout(config, data)
    check_keep(config, data)
    fields = run.load_masks() if begun else experiment.make_receptive_fields(config, data)
    experiment.check_units(fields, data)
    with experiment.on_devices(config):
        ensemble = experiment.make_ensemble(config, fields, data)
        return data, fields, ensemble, experiment.make_training_model(config, ensemble, len(data.label_names))


def finish_stopped(config: RunConfig, run_dir: str | os.PathLike) -> dict[str, Any]:
    """Save the ensemble of a run's last checkpoint and read it out as it is, without training on.

    Args:
        config: resolved `RunConfig`.
        run_dir: its run folder.

    Returns:
        As `train_run`.
    """
    from closer_tf.training import experiment

    run, data = RunFolder(run_dir), experiment.load_splits(config)
    trained = load_trained(run, config, data)
    moment = moment_in_words(trained.epochs, trained.step)
    print(f"{run.path}: a callback stopped the training {moment}; the same call goes on from here")
    with run.locked():
        return _finish(run, config, data, trained)


def _finish(run, config, data, trained):
    """Save the ensemble, draw the training, and read out; returns the content of results.json.

    Args:
        run: `RunFolder`.
        config: resolved `RunConfig`.
        data: `Splits`.
        trained: `Trained`, with the weights that are kept.
    """
    from closer_tf import plots
    from closer_tf.common.files import write_with
    from closer_tf.evaluate import readout

    if trained.kept is not None:
        print(f"training.keep: the weights after epoch {trained.kept}, the best by val_loss, are saved and read out")
    write_with(run.ensemble_file, trained.ensemble.save)
    history = run.read_history()
    if history:
        plots.save(plots.plot_training_curves(history), run.figures / "training_curves.png")
    if not config.readout.after_training:
        return {}
    try:
        results = readout(run, config, data, trained=_to_read_out(trained, config))
    except KeyboardInterrupt:
        whole = trained.epochs >= config.training.epochs
        saved = f"the training {'is done' if whole else 'was stopped early'} and saved in {run.path}; " if config.trains else ""
        print(f"{saved}the same command goes on with {'the readout' if whole else 'it'}", file=sys.stderr)
        raise
    if results:
        print(f"results: {run.results_file}, pictures: {run.figures}")
    return results


def _to_read_out(trained, config):
    """An ensemble that has just been trained as one that was loaded would embed, to the bit; None where it has to be loaded."""
    if config.compute.distribution != "none":
        return None
    if trained.model is not None and trained.model.steps_per_execution != 1:
        trained.model.steps_per_execution, trained.model.predict_function = 1, None
    return trained


def _take_back(model, run, config):
    """Set the weights to those of the last checkpoint, which are read out, where a callback has set others after it."""
    from closer_tf.training.checkpoints import latest_checkpoint, restore_checkpoint

    before = model.get_weights()
    checkpoint = latest_checkpoint(run.checkpoints, run.digests(config))
    if checkpoint is None:
        return
    restore_checkpoint(model, checkpoint)
    if not all(np.array_equal(a, b) for a, b in zip(before, model.get_weights())):
        warnings.warn(
            f"a callback set other weights after the training (restore_best_weights?): they are not kept; this run is what "
            f"it was {moment_in_words(checkpoint.epoch, checkpoint.step)}",
            CloserWarning,
            stacklevel=3,
        )


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
    pictures = {} if data.unit_areas else {"receptive_fields": fields.plot(data.train.inputs[0])}
    if getattr(model.loss, "graph", None) is not None:
        pictures["interaction_graph"] = model.loss.graph.plot(fields.labels)
    names = data.label_names if data.labelled else ("no label",)  # the labels are -1, which is the last of one name
    return load("closer_tf.training.tensorboard:RunBoard")(
        run.path / "tensorboard", ensemble, data.current().test, names, pictures
    )


def _draw_set_up(run, config, data, fields, model):
    from closer_tf import plots

    if not data.unit_areas and not (run.figures / "receptive_fields.png").exists():
        plots.save(fields.plot(data.train.inputs[0]), run.figures / "receptive_fields.png")
    for name, figure in plots.draw_map(config, fields).items():
        plots.save(figure, run.figures / f"{name}.png")
    if getattr(model.loss, "graph", None) is not None and not (run.figures / "interaction_graph.png").exists():
        plots.save(plots.draw_graph(model.loss.graph, config, fields), run.figures / "interaction_graph.png")


def dry_run(config: RunConfig, run_dir: str | os.PathLike, timed_steps: int = 5) -> None:
    """Check and build everything a run needs, time a few throw-away steps, and say what would run. Writes nothing.

    Args:
        config: resolved `RunConfig`.
        run_dir: the run folder that would be used.
        timed_steps: steps to time.
    """
    from closer_tf.data.splits import steps_per_epoch

    run = RunFolder(run_dir)
    data, fields, ensemble, model = prepare(config, run)
    _describe(config, data, fields, ensemble, run)
    if not config.trains:
        print("dry run: nothing was read out or written.")
        return
    done, of_next = run.moment()
    left = config.training.epochs - done
    if done or of_next:
        print(f"going on {moment_in_words(done, of_next)}: {left} epochs left")
    step = _seconds_per_step(model, data.train, config, timed_steps)
    steps = steps_per_epoch(len(data.train), config.training.batch_size)
    weights = 4 * ensemble.count_params() / 2**30
    copies = 2 if config.training.keep == "best" else 1
    disk = 3 * weights * copies * (config.training.keep_checkpoints + 1)
    kept = len([epoch for epoch in config.read_out_at() if epoch])
    of_epochs = f" and {kept * weights:.2f} GB of weights of {kept} epochs (readout.at_epochs)" if kept else ""
    samples = len(data.train) + len(data.validation) + len(data.test)
    probe = 12 * samples * ensemble.output_shape[1] * ensemble.output_shape[2] / 2**30  # float32, and z-scored in float64
    print(
        f"time: {step * 1000:.0f} ms per step on this machine ({timed_steps} throw-away steps), "
        f"{_seconds(step * steps)} per epoch, {duration(step * steps * left)} in all, readout not counted\n"
        f"memory: {peak_memory_gb():.1f} GB so far; the readout takes about {probe:.1f} GB more\n"
        f"disk: up to {disk:.2f} GB of checkpoints{of_epochs}\n"
        f"dry run: nothing was trained or written."
    )


def _seconds(seconds):
    return duration(seconds) if seconds >= 10 else f"{seconds:.2g} s"


def _seconds_per_step(model, split, config, steps):
    """Seconds per training step, from so many throw-away steps after those that compile."""
    import keras

    from closer_tf.data.splits import Split
    from closer_tf.data.streams import training_stream

    size, seed = config.training.batch_size, config.seeds.data_order
    if keras.backend.backend() == "jax":
        few, none = (Split(split.inputs[:count], split.labels[:count]) for count in (steps * size, 0))
        compiled = load("closer_tf.nn.jax:CompiledSteps")(model, [few], [none], size, [seed])
        train = functools.partial(compiled.fit, 0, 1)
    else:
        stream = training_stream(split, size, seed)
        train = functools.partial(model.fit, stream, steps_per_epoch=steps, verbose=0, shuffle=False)
    train()
    began = time.perf_counter()
    train()
    return (time.perf_counter() - began) / steps


def _kind_of_label(data):
    if not data.labelled:
        return "no labels"
    return "a number as label" if data.period is None else f"an angle as label, full circle {data.period:g}"


def _describe(config, data, fields, model, run):
    from closer_tf.data.splits import steps_per_epoch

    lengths = sorted({len(cells) for cells in fields.indices})
    seen = str(lengths[0]) if len(lengths) == 1 else f"{lengths[0]} to {lengths[-1]}"
    cells = "pixels" if fields.patch_size == 1 else f"{fields.patch_size} x {fields.patch_size} patches"
    if fields.labels:
        cells = f"units per encoder, by area: {', '.join(fields.labels)}"
    else:
        cells += " per encoder"
    counts = sorted({encoder.count_params() for encoder in model.encoders})
    parameters = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    labels = f"{len(data.label_names)} labels" if data.label_names else _kind_of_label(data)
    steps = steps_per_epoch(len(data.train), config.training.batch_size)
    print(
        f"run: {run.path}\n"
        f"data: {data.name}, {len(data.train)} training, {len(data.validation)} validation, {len(data.test)} test samples of "
        f"shape {data.input_shape}, {labels}\n"
        f"receptive fields: {seen} of {fields.grid[0] * fields.grid[1]} {cells}\n"
        f"ensemble: {len(model.encoders)} encoders, {parameters} parameters each, {model.count_params():,} in all\n"
        + _interactions(config, fields)
        + f"compute: {_computing(config, steps, getattr(model, 'loss', None))}\n"
        + (
            f"training: {config.condition}, {counted(config.training.epochs)} of {steps} steps, "
            f"batch {config.training.batch_size}, seed {config.seed}"
            if config.trains
            else f"condition: {config.condition}, nothing is trained; seed {config.seed}"
        )
    )
    if config.read_out_at():
        print(f"accuracy over epochs: after {', '.join(map(str, config.read_out_at()))} epochs")
    if config.readout.at_epochs:
        for line in load("closer_tf.analysis.over_epochs:missing")(config):
            print(line)


def _interactions(config, fields):
    """A line on the interaction graph, and whom an edge moves; '' without one."""
    from closer_tf.training.experiment import graph_of

    graph = graph_of(config, fields) if config.trains else None
    if graph is None:
        return ""
    pairs, alone = graph.num_encoders * (graph.num_encoders - 1), len(graph.silent())
    said = f"interactions: {graph.family}, {graph.num_edges} of {pairs} edges"
    if "stop_gradient" in CONDITIONS[config.condition].objective:
        said += ", with stop-gradient" if config.objective.stop_gradient else ", without stop-gradient"
        if graph.num_edges < pairs and not config.objective.stop_gradient:
            said += " (the paper trains sparse graphs with it: objective.stop_gradient)"
    return said + f"; {alone} encoder{'s are' if alone > 1 else ' is'} pulled by none" * (alone > 0) + "\n"


def _computing(config, steps, loss):
    """What computes, and the choices that speed it up or save memory; `steps` per epoch."""
    import keras

    from closer_tf.data.streams import steps_per_execution

    backend, options = keras.backend.backend(), config.compute
    found = versions()
    at_once = steps_per_execution(config, steps)
    xla = "always" if backend == "jax" else "on" if options.xla else "off"
    parts = [f"{backend} {found.get(backend, '')}".strip(), options.precision, f"XLA {xla}", "separate encoders"]
    if options.distribution == "mirrored":
        parts.append("one batch on all devices")
    if at_once > 1:
        parts.append(f"{at_once} steps per execution")
    if config.trains and hasattr(loss, "max_memory_mb"):
        parts.append(f"CLoSeR loss in blocks of at most {loss.max_memory_mb:g} MiB")
    return ", ".join(parts)


if __name__ == "__main__":
    raise SystemExit(main())
