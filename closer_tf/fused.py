"""Train several seeds in one, each into its own run folder: `python -m closer_tf.fused CONFIG.json --seeds 0,1,2`."""

import contextlib
import functools
import re
from pathlib import Path

from closer_tf.common.command import (
    add_overrides,
    add_plugins,
    add_seeds,
    add_version,
    command_parser,
    run_command,
    run_stoppable,
    seeds_of,
)
from closer_tf.common.files import given_path
from closer_tf.config import as_config, load_config
from closer_tf.config.composing import located_in
from closer_tf.config.conditions import trained_conditions
from closer_tf.config.identity import free_together, keys_apart
from closer_tf.errors import ConfigError, DivergedError, RunError
from closer_tf.training.runs import RunFolder, moment_in_words

EPILOG = """examples:
  closer_tf train-fused run_configs/quickstart.json --seeds 0-2
  python -m closer_tf.fused run_configs/mlp_gaussian.json --seeds 0-3,7 --set training.epochs=20 --runs-dir runs/short

Makes the ordinary run folders DIR/seed_0, DIR/seed_1, ..., with the results of separate trainings up to rounding; for when it
pays see docs/distribution.md. The same command goes on where it stopped, together or, where runs got apart, one group after
another; so does `closer_tf train DIR/seed_0/config.json --run-dir DIR/seed_0`.
exit codes: as `closer_tf train`; 3 when the loss of a run was not finite, after the others are done."""


def main(arguments=None):
    """The command line; returns the exit code."""
    parser = command_parser("closer_tf train-fused", "Train several seeds of a run config in one, and read each out.", EPILOG)
    parser.add_argument("config", help="a run config (JSON), or the name of one that ships with the package")
    add_seeds(parser, "the runs' seeds", required=True)
    add_overrides(parser, "override any key of the config, such as training.epochs=20; can be repeated")
    parser.add_argument("--runs-dir", help="where the run folders are (default: runs/<name of the config>)")
    add_plugins(parser)
    add_version(parser)
    options = parser.parse_args(arguments)
    return run_command(lambda: _main(options), needs_keras=False, plugins=options.plugins)


def _main(options):
    """Do what the command line asks; returns the exit code."""
    from closer_tf.common.backend import import_keras

    seeds = seeds_of(options)
    folder = given_path(options.runs_dir or Path("runs") / re.sub(r"\W+", "_", Path(options.config).stem))
    configs = [load_config(options.config, [*options.overrides, f"seed={seed}"]) for seed in seeds]
    run_dirs = [folder / f"seed_{seed}" for seed in seeds]
    for config, run_dir in zip(configs, run_dirs):
        RunFolder(run_dir).check(config)
        RunFolder(run_dir).refuse_if_held()
    import_keras()
    return run_stoppable(lambda: train_fused(configs, run_dirs), functools.partial(located_in, options.config), folder)


def train_fused(configs, run_dirs, callbacks=()):
    """Train several runs in one, or go on with runs that were begun, together or apart, then read each out.

    Each run's folder ends as its own training would leave it, up to rounding: config, masks, history, checkpoints, ensemble,
    results. Runs that are not at one moment are brought to their latest common checkpoint; where there is none, those at one
    moment are trained together, one group after another. The state of all runs is held twice, and each run's data once.

    Args:
        configs: list of resolved `RunConfig`s that differ in seeds, masks of equal size, and objective only.
        run_dirs: list of their run folders; made if need be.
        callbacks: Keras callbacks as for `train_run`; their logs are means over the runs, and a stop is one of all.

    Returns:
        List of dicts, the contents of the runs' results.json.

    Raises:
        ConfigError: the configs cannot be trained in one; before anything is written.
        RunError, DataError: as `closer_tf.train.train_run`.
        DivergedError: the loss or a weight of a run is not finite; raised after the other runs are done.
        closer_tf.common.command.Interrupted: the process was asked to stop; everything is saved.
    """
    from closer_tf.train import finish_stopped, prepare, train_run

    configs = [as_config(config) for config in configs]
    runs = [RunFolder(run_dir) for run_dir in run_dirs]
    if len({run.path.resolve() for run in runs}) < len(runs):
        raise RunError("run folders: expected a folder of its own for each run")
    check_alike(configs)
    splits, data, fields, models = {}, [], [], []
    for config, run in zip(configs, runs):
        seed = config.seeds.validation_split
        splits[seed], masks, _, model = prepare(config, run, splits.get(seed))
        data.append(splits[seed])
        fields.append(masks)
        models.append(model)
    _check_stackable(models)
    diverged, stopped = {}, []
    with contextlib.ExitStack() as held:
        for run, config, masks, its_data in zip(runs, configs, fields, data):
            held.enter_context(run.opened(config, masks, its_data))
        for group, checkpoints in _groups(runs, configs):
            chosen = [[things[s] for s in group] for things in (models, data, configs, runs)]
            diverged.update(_train_group(group, *chosen, checkpoints, callbacks))
            if len(group) > 1:  # what has not diverged and is not at its end was stopped by a callback
                stopped += [s for s in group if runs[s].moment() < (configs[s].training.epochs, 0)]
    del models, data, splits
    results = []
    for s, (config, run) in enumerate(zip(configs, runs)):
        if s in diverged:
            continue
        try:
            results.append((finish_stopped if s in stopped else train_run)(config, run.path))
        except DivergedError as error:  # of one that went on by itself
            diverged[s] = error
    for error in diverged.values():
        raise error
    return results


def check_alike(configs):
    """Refuse configs that cannot be trained in one.

    Args:
        configs: list of resolved `RunConfig`s.

    Raises:
        ConfigError: they differ in more than seeds, masks and objective, nothing is trained, several devices are asked for, or
            encoders are recurrent.
    """
    for s, other in enumerate(configs[1:], start=1):
        for key, first, its in keys_apart(configs[0], other):
            what = f"found {its!r} in run {s}, {first!r} in run 0"
            raise ConfigError(f"{key}: trainings in one may differ in {', '.join(free_together())} only; {what}")
    condition, distribution = configs[0].condition, configs[0].compute.distribution
    if not configs[0].trains:
        raise ConfigError(f"condition: expected one that trains ({', '.join(trained_conditions())}), found '{condition}'")
    if any(encoder.type == "rnn" for encoder in configs[0].each_encoder()):
        raise ConfigError(
            "encoder.type: recurrent encoders are not computed side by side; train each run by itself, with closer_tf train"
        )
    if distribution != "none":
        raise ConfigError(f"compute.distribution: expected 'none' for trainings in one, found '{distribution}'")


def _check_stackable(models):
    from closer_tf.nn.fused_model import places, why_not_fused

    for reason in filter(None, map(why_not_fused, models)):
        raise ConfigError(f"these cannot be trained in one: {reason}; train them one by one, with closer_tf train")
    if len({tuple(model.loss.term_names) for model in models}) > 1:
        raise ConfigError("objective: trainings in one need objectives of the same terms, with push in all of them or in none")
    try:
        places(models)
    except ValueError as error:
        raise ConfigError(f"masks: {error}") from None


def _groups(runs, configs):
    """Runs that can go on together: list of (their positions, their checkpoints, each None at the beginning).

    Only runs that are not at their last epoch count.
    """
    from closer_tf.training.checkpoints import checkpoint_files, latest_checkpoint, load_checkpoint, moment_of

    latest = [latest_checkpoint(run.checkpoints, run.digests(config)) for run, config in zip(runs, configs)]
    left = [s for s, found in enumerate(latest) if found is None or found.epoch < configs[s].training.epochs]
    names = [{path.name for path in checkpoint_files(runs[s].checkpoints)} for s in left]
    for name in sorted(set.intersection(*names), key=moment_of, reverse=True) if names else ():
        with contextlib.suppress(RunError):  # damaged: the one before
            return [(left, [load_checkpoint(runs[s].checkpoints / name) for s in left])]
    moments = {}
    for s in left:
        moments.setdefault((latest[s].epoch, latest[s].step) if latest[s] else (0, 0), []).append(s)
    return [(group, [latest[s] for s in group]) for _, group in sorted(moments.items())]


def _train_group(group, models, data, configs, runs, checkpoints, callbacks):
    """Train runs that are at one moment; returns dict: run -> `DivergedError`."""
    from closer_tf.data.splits import steps_per_epoch
    from closer_tf.training.loop import ProgressLines, run_fused_training
    from closer_tf.training.over_runs import MeansOverRuns

    if len(group) == 1:  # goes on by itself, in `train_run`
        return {}
    options, begun = configs[0].training, checkpoints[0]
    start = moment_in_words(begun.epoch, begun.step) if begun else "from the beginning"
    for run in runs:
        run.set_aside()
    print(f"{len(group)} trainings in one, {start}: {', '.join(str(run.path) for run in runs)}")
    with ProgressLines(options.epochs, steps_per_epoch(len(data[0].train), options.batch_size)) as lines:
        try:
            diverged = run_fused_training(models, data, configs, runs, checkpoints, [lines, *map(MeansOverRuns, callbacks)])
        except DivergedError as error:
            diverged = dict.fromkeys(range(len(group)), error)
    return {group[k]: error for k, error in diverged.items()}


if __name__ == "__main__":
    raise SystemExit(main())
