"""Many runs in one file and one picture: `python -m closer_tf.summary RUN_DIR ... -o results/NAME`."""

import argparse
import json
from pathlib import Path

import numpy as np

from closer_tf.command import add_version, run_command
from closer_tf.config import PATH_KEYS
from closer_tf.errors import RunError
from closer_tf.files import write_atomically
from closer_tf.runs import RunFolder


def main(arguments=None):
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m closer_tf.summary",
        description="Collect the readouts of runs that differ in seed and condition: a JSON file, and a picture over seeds.",
        epilog="example: python -m closer_tf.summary runs/mouse_* -o results/mouse",
    )
    parser.add_argument("run_dirs", nargs="+", help="run folders that have been read out")
    parser.add_argument("-o", "--out", required=True, help="path of NAME.json and NAME.png, without suffix")
    parser.add_argument("--title", default="", help="title of the picture")
    add_version(parser)
    options = parser.parse_args(arguments)
    return run_command(lambda: _main(options), needs_keras=False)


def _main(options):
    from closer_tf import plots

    summary = summarise(options.run_dirs)
    out = Path(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out.with_suffix(".json"), json.dumps(summary, indent=1) + "\n")
    values = {
        condition: {readout: found["test"] for readout, found in readouts.items() if readout in ("single", "ensemble")}
        for condition, readouts in summary["accuracy"].items()
    }
    plots.save(plots.plot_violins(values, summary["chance"], options.title), out.with_suffix(".png"))
    for condition, readouts in summary["accuracy"].items():
        for readout in ("single", "ensemble"):
            if readout in readouts:
                found = readouts[readout]
                print(
                    f"{condition:>14} {readout:>9}  {found['mean']:.4f} +- {found['sd']:.4f} (sd, {len(found['test'])} seeds)"
                )


def summarise(run_dirs):
    """The readouts of several runs of one experiment.

    Conditions that several runs of one seed share (masked input, untrained) are counted once per seed.

    Args:
        run_dirs: run folders.

    Returns:
        dict: `accuracy.<condition>.<readout>` with `seeds`, `test` (one value per seed), `mean` and `sd` (ddof 1), `measures`
        likewise, `chance`, and `runs`: config, versions, seconds per epoch and protocol of each.

    Raises:
        RunError: a folder has no readout, the runs have different data, or two runs of one seed and condition differ.
    """
    accuracy, measures, runs, chances = {}, {}, {}, set()
    for run_dir in run_dirs:
        run = RunFolder(run_dir)
        config, results = run.load_config(), run.read_results()
        if not results:
            raise RunError(f"{run.path}: not read out yet; run: python -m closer_tf.evaluate {run.path}")
        chances.add(results["chance"])
        for condition, readouts in results["accuracy"].items():
            for readout, found in readouts.items():
                _note(accuracy, run, (condition, readout), config.seed, found["test"])
        for condition, found in results["measures"].items():
            for name in ("alignment", "agreement"):
                if found[name] is None:
                    continue
                _note(measures, run, (condition, name), config.seed, found[name])
        seconds = [row["seconds"] for row in run.read_history()]
        runs[run.path.name] = {
            "config": _without_folders(config.to_dict()),
            "changes": results.get("changes", []),
            "epochs": results["epochs"],
            "seconds_per_epoch": float(np.median(seconds)) if seconds else None,
            "readout_seconds": results["seconds"],
            "protocol": results["protocol"],
            "versions": results["versions"],
        }
    if len(chances) > 1:
        raise RunError(f"the runs have different data or labels: chance levels {sorted(chances)}")
    return {"chance": chances.pop(), "accuracy": _by_name(accuracy), "measures": _by_name(measures), "runs": runs}


def _without_folders(config):
    """The config with the bare names of its data files: where they lie says nothing to others."""
    for key in PATH_KEYS:
        if config["dataset"].get(key):
            config["dataset"][key] = Path(config["dataset"][key]).name
    return config


def _note(values, run, key, seed, value):
    known = values.setdefault(key, {})
    if known.get(seed, value) != value:
        raise RunError(f"{run.path}: {' '.join(key)} of seed {seed} is {value}, another run says {known[seed]}")
    known[seed] = value


def _by_name(values):
    nested = {}
    for (condition, name), by_seed in values.items():
        found = [by_seed[seed] for seed in sorted(by_seed)]
        nested.setdefault(condition, {})[name] = {
            "seeds": sorted(by_seed),
            "test": found,
            "mean": float(np.mean(found)),
            "sd": float(np.std(found, ddof=1)) if len(found) > 1 else 0.0,
        }
    return nested


if __name__ == "__main__":
    raise SystemExit(main())
