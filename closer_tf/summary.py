"""Many runs in one file and one picture: `python -m closer_tf.summary RUN_DIR ... -o results/NAME`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from closer_tf.common.command import add_figures, add_plugins, add_version, command_parser, run_command
from closer_tf.common.files import given_path, read_text, write_atomically
from closer_tf.common.values import counted
from closer_tf.config import RecordingSource, parse_config
from closer_tf.config.conditions import UNTRAINED
from closer_tf.config.identity import data_named, result_of, without_folders
from closer_tf.data.splits import held_out, steps_per_epoch
from closer_tf.errors import RunError
from closer_tf.results import READOUTS, parse, read
from closer_tf.training.runs import RunFolder

if TYPE_CHECKING:
    from closer_tf.config import RunConfig
    from closer_tf.results import Results

EPILOG = """examples:
  python -m closer_tf.summary runs/mouse_* -o results/mouse --title "Mouse 1"
  python -m closer_tf.summary results/mouse.json -o figures/mouse --figures pdf

Writes NAME.json, the numbers, and NAME.png, their picture. exit codes: 0 done, 2 a mistake that the message explains."""
_BY_SEED = ("accuracy", "measures")  # what a summary holds seed by seed
MOST_CLASSES = 20  # of matrices that a summary keeps: their size grows with the square


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = command_parser(
        "python -m closer_tf.summary",
        "Collect the readouts of runs that differ in seed, condition or settings: a JSON file and a picture.",
        EPILOG,
    )
    parser.add_argument("run_dirs", nargs="+", help="run folders that have been read out, or one NAME.json to draw anew")
    parser.add_argument("-o", "--out", required=True, help="path of NAME.json and NAME.png, without suffix")
    parser.add_argument("--title", help="title of the picture (default: none, or that of the NAME.json)")
    add_figures(parser)
    add_plugins(parser)
    add_version(parser)
    options = parser.parse_args(arguments)
    return run_command(lambda: _main(options), needs_keras=False, plugins=options.plugins)


def _main(options):
    from closer_tf import plots

    if len(options.run_dirs) == 1 and options.run_dirs[0].endswith(".json"):
        read_summary(options.run_dirs[0])  # which says what is wrong with it
        older = {"title": "", "score": "accuracy", "simulated": False}  # what files of earlier versions do not say
        summary = {**older, **json.loads(read_text(given_path(options.run_dirs[0])))}
    else:
        summary = {"title": "", **summarise(options.run_dirs)}
    if options.title is not None:
        summary["title"] = options.title
    out = given_path(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out.with_suffix(".json"), json.dumps(summary, indent=1) + "\n")
    values = {
        condition: {readout: found["test"] for readout, found in readouts.items() if readout in READOUTS}
        for condition, readouts in summary["accuracy"].items()
    }
    title = ", ".join(part for part in (summary["title"], "simulated data" * summary["simulated"]) if part)
    chance = None if summary["score"] == "R^2" else summary["chance"]
    figure = plots.plot_violins(values, chance, title, summary["score"])
    plots.save(figure, out.with_suffix(".png"), options.figures)
    written = [out.with_suffix(f".{kind}") for kind in dict.fromkeys(["json", "png", *options.figures])]
    _print(summary["accuracy"])
    if "at_epochs" in summary:
        over_epochs = out.with_name(f"{out.stem}_accuracy_over_epochs.png")
        if _draw_over_epochs(summary, title, chance, over_epochs, options.figures):
            written += [over_epochs.with_suffix(f".{kind}") for kind in dict.fromkeys(["png", *options.figures])]
        for epoch, accuracy in summary["at_epochs"].items():
            _print(accuracy, f"  after {counted(int(epoch))}")
        for name, readouts in summary["published"].items():
            for readout, found in readouts.items():
                print(f"{name:>14} {readout:>9}  {found['mean']:.4f}  published, after {found['epochs']} epochs")
    print(f"read: {', '.join(options.run_dirs)}\nwritten: {', '.join(map(str, written))}")


def _print(accuracy, after=""):
    for condition, readouts in accuracy.items():
        for readout in READOUTS:
            if readout in readouts:
                found = readouts[readout]
                seeds = len(found["test"])
                spread = f"+- {found['sd']:.4f} (sd, {seeds} seeds)" if seeds > 1 else "(1 seed)"
                print(f"{condition:>14} {readout:>9}  {found['mean']:.4f} {spread}{after}")


def _draw_over_epochs(summary, title, chance, path, figures):
    """Draw what was read out at single epochs; returns whether there was anything to draw."""
    from closer_tf import plots

    curves = {}
    for epoch, accuracy in summary["at_epochs"].items():
        for name, readouts in accuracy.items():
            for readout, found in readouts.items():
                curves.setdefault(name, {}).setdefault(readout, {})[int(epoch)] = found["test"]
    drawn = any(epoch for readouts in curves.values() for values in readouts.values() for epoch in values)
    if drawn:
        untrained = summary["accuracy"].get(UNTRAINED, {})  # where variants have several, no line stands for all
        start = {readout: found["mean"] for readout, found in untrained.items()}
        figure = plots.plot_accuracy_over_epochs(curves, chance, start, summary["published"], title, summary["score"])
        plots.save(figure, path, figures)
    return drawn


def summarise(run_dirs: Iterable[str | os.PathLike]) -> dict[str, Any]:
    """The readouts of several runs.

    Runs that differ in more than seeds are told apart by what differs: 'closer, objective.graph.family=star'. Only what a
    condition's result follows from counts, so that what several runs of one seed share (masked input, untrained) is counted
    once per seed.

    Args:
        run_dirs: run folders.

    Returns:
        dict: `accuracy.<condition>.<readout>` with `seeds`, `test` (one value per seed), `mean` and `sd` (ddof 1, null for one
        seed), `measures` likewise, `class_pseudo_likelihood.<condition>` of at most 20 classes, where it was measured, with
        `seeds`, `matrices` (of encoder 0, one per seed; rows: the given class), `temperature` and `draws`, `chance`, `score`
        ('accuracy' or 'R^2'), `simulated`, and `runs`: config, versions, steps, seconds, memory, protocol, collapse gauge
        of the last epoch and measures of the graph of each. Where
        runs were read out at single epochs (`readout.at_epochs`) also `at_epochs.<epoch>`, as `accuracy`, and
        `published.<condition>.<readout>` with `mean` and `epochs`.

    Raises:
        RunError: a folder has no readout or an outdated one, the runs have different data, or two runs of one seed and
            condition differ.
    """
    found, kinds = [], set()
    runs: dict[str, Any] = {}
    for run_dir in run_dirs:
        run = RunFolder(run_dir)
        config, results = run.load_config(), read(run.results_file)
        if results is None and not run.has_labels(config):
            raise RunError(f"{run.path}: its data has no labels, so that it was not read out; leave it out of the summary")
        if results is None:
            raise RunError(f"{run.path}: not read out yet; run: python -m closer_tf.evaluate {run.path}")
        if results.config_digest not in (None, config.digest()):
            raise RunError(
                f"{run.path}: read out after {results.epochs} epochs, before its config was changed; finish the training, "
                f"or read it out as it is: python -m closer_tf.evaluate {run.path}"
            )
        kinds.add((results.chance, results.score, results.simulated))
        found.append((run, config, results))
        runs[_name(run.path, runs)] = _about_run(run, config, results)
    if len(kinds) > 1:
        said = [f"{score}, chance {chance:.4f}{', simulated' * simulated}" for chance, score, simulated in sorted(kinds)]
        raise RunError(f"the runs have different data or labels: {'; '.join(said)}")
    _check_one_data(found)
    over_epochs = [(run, config, results) for run, config, results in found if results.at_epochs]
    pairs = [(condition, config) for _, config, results in found for condition in results.accuracy]
    names = _names(pairs + [(config.condition, config) for _, config, _ in over_epochs])
    accuracy: dict[tuple[str, str], dict[int, float]] = {}
    validation: dict[tuple[str, str], dict[int, float]] = {}
    measures: dict[tuple[str, str], dict[int, float]] = {}
    matrices: dict[tuple[str, str], Any] = {}
    for run, config, results in found:
        for condition, readouts in results.accuracy.items():
            name = names[condition, result_of(condition, config)]
            likelihood = getattr(results.measures.get(condition), "class_pseudo_likelihood", None)
            if likelihood is not None and len(likelihood.per_encoder[0]) <= MOST_CLASSES:
                matrices.setdefault(name, {}).setdefault(config.seed, likelihood)  # of runs that differ in draws the first
            for readout, score in readouts.items():
                _note(accuracy, run, (name, readout), config.seed, score.test)
                if score.validation is not None:
                    _note(validation, run, (name, readout), config.seed, score.validation)
            for measure in ("alignment", "agreement"):
                value = getattr(results.measures.get(condition), measure, None)
                if value is not None:
                    _note(measures, run, (name, measure), config.seed, value)
    chance, score, simulated = kinds.pop()
    about = {"chance": chance, "score": score, "simulated": simulated}
    single_epochs = _at_epochs(over_epochs, names) if over_epochs else {}
    shown = {"class_pseudo_likelihood": {name: _first_encoder(of) for name, of in matrices.items()}} if matrices else {}
    return {
        **about,
        "accuracy": _by_name(accuracy, validation),
        "measures": _by_name(measures),
        **shown,
        **single_epochs,
        "runs": runs,
    }


def _first_encoder(by_seed):
    """What a summary keeps of class mean pseudo-likelihoods (dict seed -> `ClassPseudoLikelihood`): that of encoder 0."""
    seeds = sorted(by_seed)
    return {
        "encoder": 0,
        "temperature": by_seed[seeds[0]].temperature,
        "draws": by_seed[seeds[0]].draws,
        "seeds": seeds,
        "matrices": [by_seed[seed].per_encoder[0] for seed in seeds],
    }


def _at_epochs(found, names):
    """`at_epochs` and `published` of a summary, of runs with a readout at single epochs."""
    from closer_tf.analysis.published import published_values

    by_epoch, published = {}, {}
    for run, config, results in found:
        name = names[config.condition, result_of(config.condition, config)]
        for epoch, readouts in results.over_epochs().items():
            for readout, score in readouts.items():
                _note(by_epoch.setdefault(epoch, {}), run, (name, readout), config.seed, score.test)
        published[name] = published_values(config, config.condition, results.protocol.to_dict())
    at_epochs = {str(epoch): _by_name(by_epoch[epoch]) for epoch in sorted(by_epoch)}
    return {"at_epochs": at_epochs, "published": {name: readouts for name, readouts in published.items() if readouts}}


def _check_one_data(found):
    """Refuse runs whose configs name the same data while its content differs. Runs from before fingerprints pass.

    Args:
        found: list of (`RunFolder`, `RunConfig`, `Results`).
    """
    first = {}
    for run, config, results in found:
        if results.data is None:
            continue
        named = json.dumps(data_named(config), sort_keys=True)
        path, fingerprint = first.setdefault(named, (run.path, results.data))
        if fingerprint != results.data:
            raise RunError(
                f"{run.path}: read out on other data than {path}, though both configs name the same: its content differs "
                f"(data.json in each says what it was). Compare runs of one data set, or train again on the one that is meant"
            )


def _name(path, taken):
    """What a summary calls a run: its folder, with those around it where another run has the name."""
    parts = path.resolve().parts
    return next(name for k in range(1, len(parts)) if (name := "/".join(parts[-k:])) not in taken)


def _about_run(run, config, results):
    history = run.read_history()
    seconds = [row["seconds"] for row in history]
    per_epoch = float(np.median(seconds)) if seconds else None
    steps = _steps(config, results.samples)
    content = results.to_dict()
    about = {
        "config": without_folders(config.to_dict()),
        "changes": results.changes,
        "epochs": results.epochs,
        "steps_per_epoch": steps,
        "seconds_per_epoch": per_epoch,
        "seconds_per_step": per_epoch / steps if seconds else None,
        "readout_seconds": results.seconds,
        "protocol": content["protocol"],
        "versions": results.versions,
    }
    gauge = {key: history[-1][key] for key in ("embedding_sd", "effective_rank") if history and key in history[-1]}
    about |= {"collapse_gauge": gauge} if gauge else {}
    return about | {key: content[key] for key in ("best", "peak_memory_gb", "data", "graph") if content.get(key) is not None}


def _steps(config, samples):
    """Steps per epoch, from the readout's numbers of samples."""
    count = samples["train"]
    if not isinstance(config.dataset, RecordingSource):  # the readout draws a validation set of its own
        count += samples["validation"]
        count -= held_out(count, config.training.validation_fraction)
    return steps_per_epoch(count, config.training.batch_size)


def read_summary(file: str | os.PathLike) -> dict[str, tuple[RunConfig, Results]]:
    """The readouts in a file that this module wrote, run by run.

    Args:
        file: path of a JSON file.

    Returns:
        dict run name -> (resolved `RunConfig`, `Results`): of the results `test` of each readout, `alignment` and `agreement`,
        the class mean pseudo-likelihood of encoder 0, `chance`, `protocol`, `versions`, `epochs` and `data`.

    Raises:
        RunError: the file cannot be read or is no summary.
    """
    try:
        summary = json.loads(read_text(file))
        configs = {name: parse_config(about["config"], f"{file}: {name}").resolved() for name, about in summary["runs"].items()}
        conditions = {name: {config.condition, *config.readout.conditions} for name, config in configs.items()}
        names = _names([(condition, configs[name]) for name in configs for condition in conditions[name]])
        found = {}
        for name, config in configs.items():
            named = {condition: names[condition, result_of(condition, config)] for condition in conditions[name]}
            accuracy, measures = ({c: _of_seed(summary[key].get(named[c], {}), config.seed) for c in named} for key in _BY_SEED)
            for condition in named:
                kept = summary.get("class_pseudo_likelihood", {}).get(named[condition], {"seeds": []})
                if config.seed in kept["seeds"]:
                    measures[condition]["class_pseudo_likelihood"] = {
                        **{key: kept[key] for key in ("temperature", "draws")},
                        "per_encoder": [kept["matrices"][kept["seeds"].index(config.seed)]],
                    }
            content = {
                "accuracy": {
                    condition: {key: {"test": value} for key, value in of.items()} for condition, of in accuracy.items() if of
                },
                "measures": measures,
                "chance": summary["chance"],
                **{key: summary["runs"][name][key] for key in ("protocol", "versions", "epochs")},
                "data": summary["runs"][name].get("data"),
            }
            found[name] = (config, parse(content, name))
        return found
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RunError) as error:
        raise RunError(f"{file}: expected a file written by python -m closer_tf.summary, found none ({error!r})") from error


def _of_seed(readouts, seed):
    """dict readout or measure -> its value for a seed, of those that have one."""
    return {name: of["test"][of["seeds"].index(seed)] for name, of in readouts.items() if seed in of["seeds"]}


def _names(pairs):
    """dict (condition, `result_of`) -> name: the condition, and its keys that differ between conditions that have them.

    Args:
        pairs: list of (condition, config). Weights of temporal terms are compared within a condition alone.
    """
    identities = {(condition, result_of(condition, config)) for condition, config in pairs}
    seen = {}
    for condition, found in identities:
        for key, value in found:
            seen.setdefault(_scope(condition, key), set()).add(value)
    names = {}
    for condition, found in identities:
        varies = [(key, value) for key, value in sorted(found) if len(seen[_scope(condition, key)]) > 1]
        names[condition, found] = ", ".join([condition, *(f"{key}={json.loads(value)}" for key, value in varies)])
    return names


def _scope(condition, key):
    return (condition, key) if key.startswith("objective.weights.") else key


def _note(values, run, key, seed, value):
    known = values.setdefault(key, {})
    if known.get(seed, value) != value:
        raise RunError(f"{run.path}: {' '.join(key)} of seed {seed} is {value}, another run says {known[seed]}")
    known[seed] = value


def _by_name(values, validation=None):
    """dict condition -> dict readout or measure -> over seeds, with what the validation samples say where all seeds have it."""
    nested = {}
    for (condition, name), by_seed in values.items():
        found = [by_seed[seed] for seed in sorted(by_seed)]
        nested.setdefault(condition, {})[name] = {
            "seeds": sorted(by_seed),
            "test": found,
            "mean": float(np.mean(found)),
            "sd": float(np.std(found, ddof=1)) if len(found) > 1 else None,
        }
        known = (validation or {}).get((condition, name), {})
        if known.keys() == by_seed.keys():
            nested[condition][name]["validation"] = [known[seed] for seed in sorted(known)]
    return nested


if __name__ == "__main__":
    raise SystemExit(main())
