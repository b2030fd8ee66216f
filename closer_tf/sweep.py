"""Many runs from one file: `python -m closer_tf.sweep SWEEP.json`."""

import contextlib
from pathlib import Path

from closer_tf.common.command import (
    USER_ERROR,
    add_overrides,
    add_plugins,
    add_seeds,
    add_version,
    command_parser,
    run_command,
    seeds_of,
)
from closer_tf.errors import ConfigError, RunError

EPILOG = """examples:
  python -m closer_tf.sweep run_configs/sweeps/digits.json
  python -m closer_tf.sweep run_configs/sweeps/digits.json --seeds 0-9 --dry-run
  python -m closer_tf.sweep run_configs/sweeps/digits.json --in-process
  python -m closer_tf.sweep run_configs/sweeps/digits.json --scheduler tcp://10.0.0.5:8786
  python -m closer_tf.sweep run_configs/sweeps/digits.json --batch slurm --jobs 10 --batch-options slurm.json

Every point is an ordinary run folder in --runs-dir. Points that are done are skipped, interrupted ones go on, failed ones are
reported and tried again. Ctrl-C has the running trainings save and stop; the same command goes on from there. A point whose
worker is lost goes on elsewhere from its last checkpoint. docs/sweeps.md says what a sweep file holds, and how to use a
cluster.
exit codes: 0 all points are done, 2 a point failed or a mistake that the message explains, 4 another process runs this sweep
here, 130 stopped by Ctrl-C, 143 by SIGTERM."""


def main(arguments=None):
    """The command line; returns the exit code."""
    parser = command_parser(
        "python -m closer_tf.sweep",
        "Run every point of a sweep file: a grid or list over any keys of a run config, and seeds.",
        EPILOG,
    )
    parser.add_argument(
        "sweep", help="a sweep file (JSON), or the name of one that ships with the package: digits, beyond_cifar10"
    )
    add_overrides(parser, "override a key of every point's config, such as dataset.data_dir=DIR; can be repeated")
    add_seeds(parser, "seeds in place of the file's")
    add_running(parser)
    add_plugins(parser)
    add_version(parser)
    options = parser.parse_args(arguments)
    return run_command(lambda: _main(options), needs_keras=False, plugins=options.plugins)


def add_running(parser):
    """Give an argument parser the options that say where and how a sweep runs."""
    parser.add_argument("--runs-dir", default="runs", help="the folder of all run folders (default: runs)")
    parser.add_argument("--dry-run", action="store_true", help="list the points and what would be done; run nothing")
    where = parser.add_argument_group("where it runs")
    where.add_argument("--workers", type=int, metavar="N", help="trainings at once on this machine (default: 1 per 4 cores)")
    where.add_argument("--threads", type=int, metavar="N", help="threads per training (default: cores / trainings at once)")
    where.add_argument(
        "--in-process",
        action="store_true",
        help="one training after another in this process, without Dask and without a start for each: for short runs on one GPU",
    )
    where.add_argument("--scheduler", metavar="ADDRESS", help="use the workers of a running Dask scheduler")
    where.add_argument("--batch", choices=("slurm", "lsf", "pbs"), help="start workers as jobs of a batch system")
    where.add_argument("--jobs", type=int, default=1, metavar="N", help="jobs to start with --batch (default: 1)")
    where.add_argument("--batch-options", metavar="FILE", help="JSON object with dask-jobqueue's options for these jobs")


def _main(options):
    """Do what the command line asks; returns the exit code."""
    from closer_tf.config.shipped import config_file
    from closer_tf.sweeps.config import load_sweep
    from closer_tf.sweeps.points import sweep_points

    file = config_file(options.sweep, kind="sweeps")
    config = load_sweep(file)
    check_running(options)
    seeds = seeds_of(options)
    say_what_one_seed_is(options)
    points = sweep_points(config, str(file), options.overrides, seeds)
    return run_points(Path(options.sweep).stem, points, config.retries, options, options.plugins)


def say_what_one_seed_is(options):
    """Print a note where --seeds holds a single number, which was a count in earlier versions."""
    if options.seeds and options.seeds.strip().isdigit():
        print(f"note: --seeds {options.seeds} is that one seed; how many seeds is said with --num-seeds")


def check_running(options):
    """Refuse options of `add_running` that cannot be.

    Raises:
        ConfigError: a number is below 1, or two ways of running are given.
    """
    for name in ("workers", "threads", "jobs"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name} {value}: expected at least 1")
    if options.scheduler and options.batch:
        raise ConfigError("--scheduler and --batch: expected one of them")
    if options.workers and (options.scheduler or options.batch):
        raise ConfigError("--workers is for this machine alone; a scheduler has its workers, --batch has --jobs")
    for name in ("workers", "threads", "scheduler", "batch"):
        if options.in_process and getattr(options, name):
            raise ConfigError(f"--in-process and --{name}: expected one of them; this process takes all of the machine")


def run_points(name, points, retries, options, plugins=()):
    """Run the points of a sweep as the options say; show progress and a table.

    Args:
        name: the sweep's name.
        points: list of `Point`.
        retries: how often a failed point is tried again.
        options: what `add_running` gives.
        plugins: modules that register parts that the points' configs name; each training imports them.

    Returns:
        The exit code.
    """
    from closer_tf.sweeps.engine import Sweep, stopping_on_signals
    from closer_tf.sweeps.points import mixed_data
    from closer_tf.sweeps.report import Watcher, print_plan, print_table

    sweep = Sweep(name, points, options.runs_dir, retries, tuple(plugins))
    if options.dry_run:
        print_plan(sweep)
        return 0
    if options.in_process and len(sweep.of_state("done")) < len(points):
        from closer_tf.common.backend import import_keras

        import_keras()
        with stopping_on_signals(sweep), Watcher(live=False) as watch:
            sweep.run_here(watch)
    elif len(sweep.of_state("done")) < len(points):
        with stopping_on_signals(sweep), cluster(options) as (client, share), Watcher() as watch:
            sweep.run(client, share, options.threads, watch)
    print_table(sweep)
    if sweep.stop_asked.is_set():
        print(f"stopped: the same command goes on from here. Record: {sweep.record_file}")
        return 128 + sweep.signal_number
    if sweep.record_file.exists():
        print(f"record: {sweep.record_file}")
    if mixed := mixed_data(points, sweep.runs_dir):
        raise RunError(mixed)
    return 0 if len(sweep.of_state("done")) == len(points) else USER_ERROR


@contextlib.contextmanager
def cluster(options):
    """Context with (Dask client, trainings that a machine runs at once), as the options say."""
    from closer_tf.sweeps import cluster as clusters
    from closer_tf.sweeps.worker import usable_cores

    if options.scheduler:
        with clusters.running_cluster(options.scheduler) as client:
            yield client, clusters.trainings_per_host(client)
    elif options.batch:
        with clusters.batch_cluster(options.batch, options.jobs, _batch_options(options.batch_options)) as client:
            yield client, 1  # the batch system gives each job cores of its own
    else:
        workers = options.workers or max(1, usable_cores() // 4)
        with clusters.local_cluster(workers) as client:
            yield client, workers


def _batch_options(path):
    if path is None:
        return {}
    from closer_tf.config.files import read_json

    return read_json(path)


if __name__ == "__main__":
    raise SystemExit(main())
