"""The readouts of many runs in one object, written as NAME.json by `closer_tf.summary`, and read again."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from closer_tf.common.files import given_path, read_text
from closer_tf.config import RecordingSource, RunConfig, parse_config
from closer_tf.config.conditions import CONDITIONS
from closer_tf.config.identity import data_named, result_of, without_folders
from closer_tf.data.splits import held_out, steps_per_epoch
from closer_tf.errors import RunError
from closer_tf.results import Results, parse, read
from closer_tf.training.runs import RunFolder

_BY_SEED = ("accuracy", "measures")  # what a summary holds seed by seed
_Values = dict[tuple[str, str], dict[int, dict[int | None, float]]]  # (condition, readout) -> seed -> fold -> value
MOST_CLASSES = 20  # of matrices that a summary keeps: their size grows with the square


class _Run(NamedTuple):
    """A run that was read out."""

    source: str
    """Its folder, or its summary and its name there: what messages call it."""
    name: str
    """What a summary calls it, unless another run has the name."""
    config: RunConfig
    results: Results
    about: dict[str, Any]
    """What a summary says of it under `runs`."""


def summarise(
    sources: Iterable[str | os.PathLike], over_folds: bool = False, leave_out: Collection[str] = ()
) -> dict[str, Any]:
    """The readouts of several runs.

    Runs that differ in more than seeds are told apart by what differs: 'closer, objective.graph.family=star'; so are those that
    were stopped at another epoch, or read out by another protocol, than their configs say. Only what a condition's result
    follows from counts, so that what several runs of one seed share (masked input, untrained) is counted once per seed.

    Args:
        sources: run folders, and files of summaries, whose runs are added as if their folders were there.
        over_folds: cross-validation: runs that differ in `dataset.fold` alone are one, and a seed's value is the mean over its
            folds, of which each seed has the same. Default: another fold is another variant.
        leave_out: runs of the files that are not taken, such as those that were run again, by what `runs` calls them there.

    Returns:
        dict: `accuracy.<condition>.<readout>` with `seeds`, `test` (one value per seed), `mean` and `sd` (ddof 1, null for one
        seed), and `validation` (one value per seed, null where it is not known) where any seed has it, `measures` likewise,
        `class_pseudo_likelihood.<condition>` of at most 20 classes, where it was measured, with `seeds`, `matrices` (of encoder
        0, one per seed; rows: the given class), `temperature` and `draws`, `chance`, `score` ('accuracy' or 'R^2'),
        `simulated`, and `runs`: config, versions, steps, seconds, memory, protocol, collapse gauge of the last epoch and
        measures of the graph of each. Where runs were read out at single epochs (`readout.at_epochs`) also
        `at_epochs.<epoch>`, as `accuracy`, and `published.<condition>.<readout>` with `mean` and `epochs`.
        Over folds also `folds`, their numbers, `chance_by_fold`, whose mean is `chance`, and with every `test` also
        `by_fold`, a list per seed.

    Raises:
        RunError: a folder has no readout or an outdated or unfinished one, a file is no summary or one over folds, the runs
            have different data, two runs of one seed and condition differ, two of different seeds are the same run, no file
            has a run that is to be left out, or over folds: a run has none, there is only one, or a seed lacks one that
            another has.
    """
    found: list[_Run] = []
    in_files: list[str] = []
    for source in sources:
        path = given_path(source)
        if path.suffix == ".json" and not path.is_dir():
            of_file = _of_file(source)
            in_files += [run.name for run in of_file]
            found += [run for run in of_file if run.name not in leave_out]
        else:
            found.append(_of_folder(source))
    _check_left_out(leave_out, in_files, found)
    runs: dict[str, Any] = {}
    for run in found:
        runs[_free_name(run, runs)] = run.about
    (measured, simulated), chances = _kind_of(found, over_folds)
    _check_one_data(found)
    over_epochs = [run for run in found if run.results.at_epochs]
    _check_seeds(found)
    folds = _folds(found) if over_folds else []
    of_runs = [(run, {*run.results.accuracy, *[run.config.condition] * bool(run.results.at_epochs)}) for run in found]
    names = _names({(c, _variant(c, run.config, run.about, folds)) for run, conditions in of_runs for c in conditions})
    accuracy: _Values = {}
    validation: _Values = {}
    measures: _Values = {}
    matrices: dict[tuple[str, str], Any] = {}
    for run in found:
        for condition, readouts in run.results.accuracy.items():
            name = names[condition, _variant(condition, run.config, run.about, folds)]
            likelihood = getattr(run.results.measures.get(condition), "class_pseudo_likelihood", None)
            if likelihood is not None and not folds and len(likelihood.per_encoder[0]) <= MOST_CLASSES:
                matrices.setdefault(name, {}).setdefault(run.config.seed, likelihood)  # of runs that differ in draws the first
            for readout, score in readouts.items():
                _note(accuracy, run, (name, readout), score.test)
                if score.validation is not None:
                    _note(validation, run, (name, readout), score.validation)
            for measure in ("alignment", "agreement"):
                value = getattr(run.results.measures.get(condition), measure, None)
                if value is not None:
                    _note(measures, run, (name, measure), value)
    by_fold = [chances[fold].pop() for fold in folds or chances]
    about = {"chance": float(np.mean(by_fold)) if folds else by_fold[0], "score": measured, "simulated": simulated}
    single_epochs = _at_epochs(over_epochs, names, folds) if over_epochs else {}
    shown = {"class_pseudo_likelihood": {name: _first_encoder(of) for name, of in matrices.items()}} if matrices else {}
    return {
        **about,
        **({"folds": folds, "chance_by_fold": by_fold} if folds else {}),
        "accuracy": _by_name(accuracy, validation, folds),
        "measures": _by_name(measures, folds=folds),
        **shown,
        **single_epochs,
        "runs": runs,
    }


def _kind_of(found, over_folds):
    """What all runs are measured by and on: ((score, simulated), dict fold -> set of the one chance); the fold is None where
    folds are no parts of one.

    Raises:
        RunError: they differ.
    """
    kinds = {}
    for run in found:
        fold = _fold(run.config) if over_folds else None
        kinds.setdefault((run.results.score, run.results.simulated), {}).setdefault(fold, set()).add(run.results.chance)
    kind, chances = next(iter(kinds.items()))
    if len(kinds) > 1 or any(len(of_fold) > 1 for of_fold in chances.values()):
        said = [
            f"{name}, chance {chance:.4f}{', simulated' * made_up}"
            for (name, made_up), of_kind in sorted(kinds.items())
            for chance in sorted(set().union(*of_kind.values()))
        ]
        several = len({_fold(run.config) for run in found}) > 1 and not over_folds
        hint = ". Folds of one recording go together with --over-folds" * several
        raise RunError(f"the runs have different data or labels: {'; '.join(said)}{hint}")
    return kind, chances


def _of_folder(run_dir):
    """The run in a folder, as `_Run`."""
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
    if config.condition not in results.accuracy and (results.epochs or results.step or not config.trains):
        raise RunError(
            f"{run.path}: {config.condition} is not among what was read out ({', '.join(results.accuracy) or 'nothing'}): was "
            f"the readout stopped? It goes on with: python -m closer_tf.evaluate {run.path}"
        )
    config = _as_read_out(config, results)
    return _Run(str(run.path), str(run.path.resolve()), config, results, _about_run(run, config, results))


def _as_read_out(config, results):
    """The config of what was done: as many epochs as were trained, and the protocol and the conditions of the readout."""
    keys = {"name": "protocol", **{key: key for key in ("C", "max_iter", "validation_fraction", "knn_neighbours")}}
    said = {keys[key]: value for key, value in results.protocol.to_dict().items() if key in keys}  # older files say less
    if said.get("protocol") == "converged":
        said["precision"] = "float64"  # the only one that it has
    compared = [condition for condition in results.accuracy if condition != config.condition]
    readout = config.readout.model_copy(update={**said, "conditions": compared})
    training = config.training.model_copy(update={"epochs": results.epochs} if config.trains else {})
    return config.model_copy(update={"readout": readout, "training": training})


def _of_file(file):
    """The runs in a summary, each as `_Run`."""
    found, summary = read_summary(file), json.loads(read_text(given_path(file)))
    if "folds" in summary:
        raise RunError(f"{file}: a summary over folds stays as it was made; give the run folders instead")
    return [_Run(f"{file}: {name}", name, config, results, summary["runs"][name]) for name, (config, results) in found.items()]


def _check_left_out(leave_out, in_files, kept):
    """Raise `RunError` where a name that is to be left out is of no file's run, or nothing is kept."""
    for name in leave_out:
        if name not in in_files:
            raise RunError(
                f"--leave-out {name}: no file given here has a run of that name, but {', '.join(in_files) or 'none'}"
            )
    if not kept:
        raise RunError("--leave-out: no run is left to make a summary of")


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


def _at_epochs(found, names, folds):
    """`at_epochs` and `published` of a summary, of runs with a readout at single epochs."""
    from closer_tf.analysis.published import published_values

    by_epoch, published = {}, {}
    for run in found:
        condition = run.config.condition
        name = names[condition, _variant(condition, run.config, run.about, folds)]
        for epoch, readouts in run.results.over_epochs().items():
            for readout, score in readouts.items():
                _note(by_epoch.setdefault(epoch, {}), run, (name, readout), score.test)
        published[name] = {} if folds else published_values(run.config, condition, run.results.protocol.to_dict())
    at_epochs = {str(epoch): _by_name(by_epoch[epoch], folds=folds) for epoch in sorted(by_epoch)}
    return {"at_epochs": at_epochs, "published": {name: readouts for name, readouts in published.items() if readouts}}


def _check_one_data(found):
    """Refuse runs whose configs name the same data while its content differs. Runs from before fingerprints pass.

    Args:
        found: list of `_Run`.
    """
    first = {}
    for run in found:
        if run.results.data is None:
            continue
        named = json.dumps(data_named(run.config), sort_keys=True)
        other, fingerprint = first.setdefault(named, (run.source, run.results.data))
        if fingerprint != run.results.data:
            raise RunError(
                f"{run.source}: read out on other data than {other}, though both configs name the same: its content differs "
                f"(data.json in each says what it was). Compare runs of one data set, or train again on the one that is meant"
            )


def _check_seeds(found):
    """Refuse runs of different `seed` whose random numbers are all the same: they are one run, done twice.

    Args:
        found: list of `_Run`.
    """
    first = {}
    for run in found:
        condition = run.config.condition
        key = json.dumps([condition, sorted(_variant(condition, run.config, run.about, [])), run.config.seeds.model_dump()])
        other = first.setdefault(key, run)
        if other.config.seed != run.config.seed:
            raise RunError(
                f"{run.source}: seed {run.config.seed}, but all its seeds.* are those of {other.source}, seed "
                f"{other.config.seed}: the two are one run done twice and no two seeds; leave one out"
            )


def _free_name(run, taken):
    """What a summary calls a run: its folder, with those around it where another run has the name.

    Args:
        run: `_Run`.
        taken: dict name -> what is said of the run that has it. A run that is given twice has one name.
    """
    parts = Path(run.name).parts[1:] if Path(run.name).is_absolute() else [run.name]
    names = ["/".join(parts[-k:]) for k in range(1, len(parts) + 1)]
    numbered = (f"{names[-1]}_{k}" for k in itertools.count(2))
    return next(name for name in itertools.chain(names, numbered) if taken.get(name, run.about) == run.about)


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
        "step": results.step,
        "steps_per_epoch": steps,
        "seconds_per_epoch": per_epoch,
        "seconds_per_step": per_epoch / steps if seconds else None,
        "readout_seconds": results.seconds,
        "protocol": content["protocol"],
        "versions": results.versions,
    }
    gauge = {key: history[-1][key] for key in ("embedding_sd", "effective_rank") if history and key in history[-1]}
    about |= {"collapse_gauge": gauge} if gauge else {}
    about |= {"masks": _digest_of_masks(run.load_masks())} if config.masks.scheme == "custom" else {}
    return about | {key: content[key] for key in ("best", "peak_memory_gb", "data", "graph") if content.get(key) is not None}


def _digest_of_masks(fields):
    """SHA-256 (hex) of which cells each encoder sees."""
    return hashlib.sha256(json.dumps([cells.tolist() for cells in fields.indices]).encode()).hexdigest()


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
        dict run name -> (resolved `RunConfig`, `Results`): of the results `test` of each readout, and `validation` where the
        summary has it, likewise at single epochs, `alignment` and `agreement`, the class mean pseudo-likelihood of
        encoder 0, `chance`, `simulated`, `protocol`, `versions`, `epochs` and `data`.

    Raises:
        RunError: the file cannot be read or is no summary.
    """
    try:
        summary = json.loads(read_text(file))
        configs = {name: parse_config(about["config"], f"{file}: {name}").resolved() for name, about in summary["runs"].items()}
        conditions = {  # files from before may have more of a run than its config asks for
            name: {config.condition, *config.readout.conditions}
            | {condition for condition in summary["runs"][name].get("readout_seconds", {}) if condition in CONDITIONS}
            for name, config in configs.items()
        }
        folds = summary.get("folds", [])

        def variant(condition, name):
            return _variant(condition, configs[name], summary["runs"][name], folds)

        names = _names({(condition, variant(condition, name)) for name in configs for condition in conditions[name]})
        found = {}
        for name, config in configs.items():
            named = {condition: names[condition, variant(condition, name)] for condition in conditions[name]}
            accuracy, measures = (
                {c: _of_run(summary[key].get(named[c], {}), config, folds) for c in named} for key in _BY_SEED
            )
            for condition in named:
                kept = summary.get("class_pseudo_likelihood", {}).get(named[condition], {"seeds": []})
                if config.seed in kept["seeds"]:
                    measures[condition]["class_pseudo_likelihood"] = {
                        **{key: kept[key] for key in ("temperature", "draws")},
                        "per_encoder": [kept["matrices"][kept["seeds"].index(config.seed)]],
                    }
            validation = (
                {} if folds else {c: _of_run(summary["accuracy"].get(named[c], {}), config, (), "validation") for c in named}
            )
            at_epochs = {
                epoch: _scores(_of_run(of.get(named[config.condition], {}), config, folds))
                for epoch, of in summary.get("at_epochs", {}).items()
            }
            content = {
                "accuracy": {c: _scores(of, validation.get(c, {})) for c, of in accuracy.items() if of},
                "measures": measures,
                "simulated": summary.get("simulated", False),
                "at_epochs": {epoch: {"accuracy": of} for epoch, of in at_epochs.items() if of},
                "chance": summary["chance_by_fold"][folds.index(_fold(config))] if folds else summary["chance"],
                **{key: summary["runs"][name][key] for key in ("protocol", "versions", "epochs")},
                "data": summary["runs"][name].get("data"),
            }
            found[name] = (config, parse(content, name))
        return found
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RunError) as error:
        raise RunError(f"{file}: expected a file written by python -m closer_tf.summary, found none ({error!r})") from error


def _of_run(readouts, config, folds, samples="test"):
    """dict readout or measure -> its value for a run's seed and fold, of those that have one."""
    found = {name: (of, of["seeds"].index(config.seed)) for name, of in readouts.items() if config.seed in of["seeds"]}
    if folds:
        return {name: of["by_fold"][k][folds.index(_fold(config))] for name, (of, k) in found.items()}
    values = {name: of[samples][k] for name, (of, k) in found.items() if samples in of}
    return {name: value for name, value in values.items() if value is not None}


def _scores(test, validation=()):
    """dict readout -> content of a `Score`, of dicts readout -> value."""
    return {name: {"test": test[name], **({"validation": validation[name]} if name in validation else {})} for name in test}


def _fold(config):
    """Which fold is tested; None where the data has none."""
    return getattr(config.dataset, "fold", None)


def _folds(found):
    """The folds that runs differ in.

    Args:
        found: list of `_Run`.
    """
    for run in found:
        if not hasattr(run.config.dataset, "fold"):
            raise RunError(f"{run.source}: its data has no folds; leave out --over-folds")
    folds = sorted({run.config.dataset.fold for run in found})
    if len(folds) < 2:
        raise RunError(
            f"all runs are of fold {folds[0]}; --over-folds wants others: train with --set dataset.fold=1, and so on"
        )
    return folds


def _variant(condition, config, about, folds):
    """What a condition's result follows from, as `result_of` and what a summary says of the run; over folds without which of
    them it is."""
    found = {pair for pair in result_of(condition, config) if not folds or pair[0] != "dataset.fold"}
    happened = {}
    if CONDITIONS[condition].reads != "input" and "masks" in about:
        happened["masks.content"] = about["masks"][:12]
    if CONDITIONS[condition].trained and "step" in about:  # files of earlier versions have their names without
        rates = [[change["epoch"], change["to"]] for change in about["changes"] if change["event"] == "learning rate"]
        happened |= {"learning rate changed at": rates, "steps of the next epoch": about["step"]}
    return frozenset(found | {(key, json.dumps(value)) for key, value in happened.items()})


def _names(identities):
    """dict (condition, `_variant`) -> name: the condition, and its keys that differ between conditions that have them.

    Args:
        identities: set of (condition, `_variant`). Weights of temporal terms are compared within a condition alone.
    """
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


def _note(values, run, key, value):
    seed, fold = run.config.seed, _fold(run.config)
    known = values.setdefault(key, {}).setdefault(seed, {})
    if known.get(fold, value) != value:
        raise RunError(
            f"{run.source}: {' '.join(key)} of seed {seed} is {value}, another run says {known[fold]}; leave one of the two "
            f"out (a run of a file: --leave-out NAME)"
        )
    known[fold] = value


def _by_name(values, validation=None, folds=()):
    """dict condition -> dict readout or measure -> over seeds, with what the validation samples say where any seed has it.

    Args:
        values: dict (condition, readout or measure) -> dict seed -> dict fold -> value.
        validation: likewise.
        folds: the folds that a seed's value is the mean over, if over any.
    """
    nested = {}
    for (condition, name), by_seed in values.items():
        if folds:
            _check_folds(condition, by_seed, folds)
        found = [_mean_over_folds(by_seed[seed]) for seed in sorted(by_seed)]
        nested.setdefault(condition, {})[name] = {
            "seeds": sorted(by_seed),
            "test": found,
            "mean": float(np.mean(found)),
            "sd": float(np.std(found, ddof=1)) if len(found) > 1 else None,
        }
        if folds:
            nested[condition][name]["by_fold"] = [[by_seed[seed][fold] for fold in folds] for seed in sorted(by_seed)]
        known = (validation or {}).get((condition, name), {})
        if known:
            nested[condition][name]["validation"] = [
                _mean_over_folds(known[seed]) if seed in known else None for seed in sorted(by_seed)
            ]
    return nested


def _mean_over_folds(by_fold):
    return float(np.mean(list(by_fold.values()))) if len(by_fold) > 1 else next(iter(by_fold.values()))


def _check_folds(condition, by_seed, folds):
    for seed, by_fold in by_seed.items():
        lacking = ", ".join(str(fold) for fold in folds if fold not in by_fold)
        if lacking:
            raise RunError(
                f"{condition}, seed {seed}: no run of fold {lacking}; --over-folds wants each of {folds} of every seed"
            )
