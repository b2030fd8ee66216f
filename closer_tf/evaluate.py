"""Read out what a run's encoders know: `python -m closer_tf.evaluate RUN_DIR`."""

from __future__ import annotations

import functools
import math
import os
import sys
import time
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from closer_tf.common.backend import make_deterministic, numpy_products, peak_memory_gb, products_in
from closer_tf.common.command import (
    add_figures,
    add_overrides,
    add_plugins,
    add_version,
    command_parser,
    console,
    printable,
    run_command,
)
from closer_tf.common.files import make_folder
from closer_tf.common.values import counted, load
from closer_tf.config.conditions import CONDITIONS, UNTRAINED, title_of
from closer_tf.errors import CloserWarning, ConfigError
from closer_tf.readout.features import (
    WHITENING,
    embeddings,
    ensemble_of,
    features,
    load_trained,
    probe_splits,
    trained_ensemble,
)
from closer_tf.readout.probes import fits_on_accelerator
from closer_tf.readout.scores import (
    begin_results,
    has_layers,
    has_neighbours,
    has_whitened,
    is_done,
    layers_of,
    measures_of,
    neighbours_of,
    probe,
    whitened_of,
)
from closer_tf.results import READOUTS, BestEpoch, GraphMeasures, Results, cells, peak_so_far, read, write
from closer_tf.training.checkpoints import advice_on_it, best_epoch, describe_best, has_passed_its_best
from closer_tf.training.runs import RunFolder

if TYPE_CHECKING:
    from closer_tf.config import RunConfig
    from closer_tf.data.splits import Splits
    from closer_tf.readout.features import Trained

EPILOG = """examples:
  python -m closer_tf.evaluate runs/quickstart --set readout.knn_neighbours=20
  python -m closer_tf.evaluate runs/quickstart --set 'readout.at_epochs=[50, 100, 250]'

The latter reads out accuracy over epochs, as far as the weights are there: give readout.at_epochs to the training.
exit codes: 0 done, 2 a mistake that the message explains, 4 another process is at work on the run folder."""

__all__ = ["evaluate_run", "main", "readout", "trained_ensemble"]

ON_A_LINE = 1.1  # an effective rank below this: the embeddings of a batch lie on a line, nearly
BELOW = 0.005  # nothing is said of smaller differences: a few test samples


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = command_parser(
        "python -m closer_tf.evaluate",
        "Linear readout and measures of a run: raw input, untrained and trained encoders, single and ensemble.",
        EPILOG,
    )
    parser.add_argument("run_dir", help="a run folder made by closer_tf.train")
    parser.add_argument("--redo", action="store_true", help="read out again even what results.json already holds")
    add_overrides(
        parser, "override a key of the readout, or where the data lies, such as readout.max_iter=1000 or dataset.data_dir=DIR"
    )
    add_figures(parser)
    add_plugins(parser)
    add_version(parser)
    options = parser.parse_args(arguments)
    return run_command(
        lambda: evaluate_run(options.run_dir, options.redo, options.overrides, options.figures), plugins=options.plugins
    )


def evaluate_run(
    run_dir: str | os.PathLike, redo: bool = False, overrides: Sequence[str] = (), figures: Sequence[str] = ()
) -> dict[str, Any]:
    """Probe and measure every condition of a run; write results.json and pictures; print a table.

    A condition that results.json already holds, at the same epoch and with the same protocol, is kept; so are the epochs of
    `readout.at_epochs`, of which those are read out that the training has reached.
    `peak_memory_gb` in results.json is the most memory that a process has taken that trained or read out this run.

    Args:
        run_dir: the run folder.
        redo: probe everything anew.
        overrides: strings 'key.path=value' for keys of `readout` and for where the data lies.
        figures: formats that all of the run's pictures are written in beside PNG: 'pdf', 'svg'.

    Returns:
        dict, the content of results.json; empty where the data has no labels.

    Raises:
        RunError: there is no run, it is in use, or the data is not what it was trained on.
        ConfigError: the run's data is not where the config says.
        DataError: the run's data cannot be read any more.
    """
    run = RunFolder(run_dir)
    config = run.load_config(overrides)
    with run.locked():
        from closer_tf.training.experiment import load_splits

        if config.deterministic:
            make_deterministic()
        data = load_splits(config)
        run.check_data(data, config)
        check_readout(config, data)
        return readout(run, config, data, redo, figures)


def readout(
    run: RunFolder,
    config: RunConfig,
    data: Splits,
    redo: bool = False,
    figures: Sequence[str] = (),
    trained: Trained | None = None,
) -> dict[str, Any]:
    """As `evaluate_run`, for a folder that is locked already and data that is loaded.

    Args:
        run: `RunFolder`.
        config: resolved `RunConfig`.
        data: `Splits`.
        redo, figures: as for `evaluate_run`.
        trained: `Trained`, the run's ensemble as its last checkpoint holds it. Default: it is loaded.
    """
    if not data.labelled:
        print(f"no readout: {data.name} has no labels here, so there is nothing to probe; {run.ensemble_file} gives embeddings")
        return {}
    with products_in(config.compute.precision):
        return _readout(run, config, data, redo, figures, trained).to_dict()


def _readout(run, config, data, redo, figures, trained):
    """Read out, draw and print; returns `Results`."""
    from closer_tf import plots
    from closer_tf.training.experiment import check_units, graph_of

    make_folder(run.figures)  # a copy of a run may come without
    data = data.current()  # the readout sees the current bin alone, embeddings and counts alike
    fields = run.load_masks()
    check_units(fields, data)
    trained = trained or load_trained(run, config, data)
    peak = peak_so_far(run.results_file)
    stored = None if redo else read(run.results_file)
    results = begin_results(run, config, data, trained, stored)
    if results is not stored:
        run.keep_results()  # a readout that is stopped half way leaves them
    embeddings, new = _read_out_conditions(run, config, data, fields, trained, results, peak, bool(figures))
    new += _read_out_layers(run, config, data, fields, trained, results)
    over_epochs = config.readout.at_epochs or results.at_epochs or results.not_kept
    if over_epochs:
        load("closer_tf.analysis.over_epochs:read_out")(run, config, data, trained, results)
    if fields.labels and results.areas != list(fields.labels):
        results.areas = list(fields.labels)
        write(run.results_file, results)
    _note_graph(run, config, fields, results)
    _note_training(run, config, trained, results)
    if figures:
        plots.draw_training(run, config, data, fields, graph_of(config, fields), figures)
    plots.draw_readout(run, data, fields, results, embeddings, figures)
    if over_epochs:
        load("closer_tf.analysis.over_epochs:draw")(run, config, results, figures)
    print_table(results)
    print_areas(results)
    if not {*map(title_of, results.accuracy)} <= {*new}:
        print(f"new in this: {', '.join(new) or 'nothing'}; the rest was read out before (--redo reads out all of it again)")
    if over_epochs:
        load("closer_tf.analysis.over_epochs:print_table")(config, results)
    for note in results.notes:
        print(f"note: {note}")
    run.results_before.unlink(missing_ok=True)
    return results


def _read_out_conditions(run, config, data, fields, trained, results, peak, drawn):
    """Read out the conditions that are asked for and not in the results yet; writes them after each.

    Args:
        results: `Results`, which get the conditions.
        peak: most memory so far, in GiB.
        drawn: embed also what is known already, where its embeddings are drawn.

    Returns:
        (embeddings, new): dict condition -> test embeddings (n, N, D), and what was read out, in words.
    """
    from closer_tf import plots

    found, new = {}, []
    own = [] if config.trains and not (trained.epochs or trained.step) else [config.condition]
    for condition in [*(c for c in config.readout.conditions if c not in own), *own]:
        name, probed = title_of(condition), is_done(condition, results, config.readout)
        lacking = _lacking(results.accuracy[condition], config.readout) if probed else {}
        if probed and not lacking:
            if drawn and plots.has_trials(data) and CONDITIONS[condition].embeds:
                found[condition] = embeddings(condition, config, data, fields, trained)["test"]
            continue
        began = time.perf_counter()
        embedded = embeddings(condition, config, data, fields, trained)
        if embedded is not None:
            found[condition] = embedded["test"]
        sets = features(condition, config, data, fields, embedded)
        for says, find in lacking.items():
            new.append(f"{says} of {name}")
            results.accuracy[condition] |= find(sets, config, data, name)
        if not probed:
            new.append(name)
            _note_slow_products()
            results.accuracy[condition], results.probes[condition] = probe(sets, config, data, name)
            if embedded is not None:
                measured = measures_of(condition, embedded["test"], data.test.labels, data.label_names, config)
                results.measures[condition] = measured
            results.seconds[condition] = round(time.perf_counter() - began, 1)
        if config.readout.whiten:
            results.whitening = WHITENING
        results.peak_memory_gb = max(peak, peak_memory_gb())
        write(run.results_file, results)
    return found, new


@functools.cache
def _note_slow_products():
    """Say it where the probe's products take longer than they have to, once per process."""
    _, advice = numpy_products()
    if advice and not fits_on_accelerator():
        print(f"note: {advice}", file=sys.stderr)


def _note_graph(run, config, fields, results):
    """Bring the measures of the interaction graph up to date."""
    from closer_tf.graphs import measures
    from closer_tf.training.experiment import graph_of

    graph = graph_of(config, fields)
    found = None if graph is None else GraphMeasures(**measures(graph))
    if found is not None and found != results.graph:
        results.graph = found
        write(run.results_file, results)


def _lacking(accuracy, options):
    """What is asked for beside the probe and not in a condition's scores: dict of what it is called to what finds it."""
    lacking = {} if has_neighbours(accuracy, options) else {f"{options.knn_neighbours} nearest neighbours": neighbours_of}
    return lacking if has_whitened(accuracy, options) else {**lacking, "whitened features": whitened_of}


def _read_out_layers(run, config, data, fields, trained, results):
    """Read out the hidden layers of the conditions that are read out, if `readout.layers` asks for it and they are not known;
    arguments as for `_read_out_conditions`. Returns what was read out, in words."""
    new = []
    for condition in dict.fromkeys([*config.readout.conditions, config.condition]):
        known = results.accuracy.get(condition)
        if known is None or not CONDITIONS[condition].embeds or has_layers(known, config):
            continue
        ensemble = ensemble_of(condition, config, data, fields, trained)
        results.accuracy[condition] |= layers_of(ensemble, config, data, title_of(condition))
        new.append(f"the layers of {title_of(condition)}")
        write(run.results_file, results)
    return new


def _note_training(run, config, trained, results):
    """Bring `best` and `notes` of the results up to date."""
    before = results.to_dict()
    for key, value in (("best", best_of(trained)), ("notes", advice(results, config, trained.history))):
        if value:
            setattr(results, key, value)
        else:
            results.absent(key)
    if results.to_dict() != before:
        write(run.results_file, results)


def print_table(results: Results) -> None:
    """Print the accuracies of `Results`, single and ensemble, beside the chance level."""
    from rich.table import Table

    simulated = ", simulated data" if results.simulated else ""
    length = counted(results.epochs) + (f" and {results.step} steps" if results.step else "")
    if results.best is not None and results.best.kept:
        length += f", weights of epoch {results.best.epoch}"
    title = f"test {results.score} after {length} (chance {results.chance:.3f}{simulated})"
    table = Table(title=title)
    table.add_column("condition")
    columns = {"single": "single encoder", "ensemble": "ensemble"}
    neighbours = results.protocol.knn_neighbours
    if neighbours is not None:
        columns |= {"knn_single": f"single, {neighbours}-NN", "knn_ensemble": f"ensemble, {neighbours}-NN"}
    if any("whitened_ensemble" in found for found in results.accuracy.values()):
        columns |= {"whitened_single": "single, whitened", "whitened_ensemble": "ensemble, whitened"}
    for says in columns.values():
        table.add_column(says, justify="right")
    for condition, found in results.accuracy.items():
        table.add_row(title_of(condition), *cells(found, columns))
    console().print(table)
    fits = [fit for probes in results.probes.values() for probe in probes.values() for fit in probe.fits]
    stopped = sum(not fit.converged for fit in fits)
    name, limit = results.protocol.name, results.protocol.max_iter
    console().print(f"{name} probe: {stopped} of {len(fits)} fits stopped at {limit} iterations before they had converged.")


def print_areas(results: Results) -> None:
    """Print the accuracy of every single encoder of a recording's `Results` under its brain area."""
    from rich.table import Table
    from rich.text import Text

    values: dict[str, Any] = {
        name: found["single"].per_encoder for name, found in results.accuracy.items() if "single" in found
    }
    if not results.areas or not values:
        return
    table = Table(title="single encoders, by area")
    table.add_column("area")
    for condition in values:
        table.add_column(title_of(condition), justify="right")
    for i, area in enumerate(results.areas):
        table.add_row(Text(printable(area)), *(f"{found[i]:.3f}" for found in values.values()))
    console().print(table)


def advice(results: Results, config: RunConfig, history: list[dict]) -> list[str]:
    """Notes on a run's readout.

    Args:
        results: `Results`.
        config: the run's resolved `RunConfig`.
        history: one row per epoch done.

    Returns:
        List of str, empty where nothing is to be said.
    """
    if not config.trains:
        return []
    accuracy, name = results.accuracy, title_of(config.condition)
    trained, untrained = accuracy.get(config.condition, {}), accuracy.get(UNTRAINED, {})
    below = [
        f"{readout} {trained[readout].test:.3f} against {untrained[readout].test:.3f}"
        for readout in READOUTS
        if readout in trained and readout in untrained and trained[readout].test < untrained[readout].test - BELOW
    ]
    notes, passed = [], has_passed_its_best(history, config.training.epochs)
    if passed:
        notes.append(f"{describe_best(history)}: {advice_on_it(config, history)}")
    if below:
        says = f"{name} is below untrained after {counted(results.epochs)} ({', '.join(below)})"
        if not passed:
            climbs = "Accuracy falls at the beginning of most trainings and climbs later"
            notes.append(f"{says}. {climbs}: {_longer(config)}{_softer(config, 'or ')}")
        elif config.training.keep == "best":
            notes.append(
                f"{says}, at its best epoch: closer_tf diagnose says whether its receptive fields share what is read out"
            )
        else:
            notes.append(f"{says}, past its best epoch")
    rank = history[-1].get("effective_rank") if history else None
    if rank is not None and rank < ON_A_LINE:
        notes.append(
            f"the effective rank of the embeddings is {rank:.2f} after {len(history)} epochs: they lie on a line, nearly, "
            f"and tell little apart: {_longer(config)}{_softer(config, 'or ')}"
        )
    return notes


def best_of(trained: Trained) -> BestEpoch | None:
    """Where the validation loss of a training was lowest.

    Args:
        trained: `Trained`, what is read out.

    Returns:
        `BestEpoch`, or None without a validation loss.
    """
    history = trained.history
    best = best_epoch(history)
    if best is None:
        return None
    last = history[-1]["val_loss"]
    return BestEpoch(
        epoch=int(best["epoch"]),
        val_loss=best["val_loss"],
        last_epoch=len(history),
        last_val_loss=last if math.isfinite(last) else None,
        kept=trained.kept is not None,
    )


def _longer(config):
    now = config.training.epochs
    return f"train longer (--set training.epochs={max(2 * now, 10)}, now {now}: the run goes on)"


def _softer(config, before):
    """A lower temperature in a new folder, for objectives that have one."""
    if "temperature" not in CONDITIONS[config.condition].objective:
        return ""
    now = config.objective.temperature
    return f", {before}try a lower temperature in a new folder (--set objective.temperature={now / 4:g}, now {now:g})"


def check_readout(config: RunConfig, data: Splits) -> None:
    """Refuse settings of `readout` that cannot be carried out on the data; warn of classes that the probe cannot learn.

    Args:
        config: resolved `RunConfig`.
        data: `Splits`. Without labels there is no readout, and nothing to check.

    Raises:
        ConfigError: the probe would have too few samples or classes, or more neighbours are asked for than there are samples.
    """
    if not data.labelled:
        return
    train, validation = probe_splits(config, data)
    labels = np.concatenate([data.train.labels, data.validation.labels])[train]
    _check_neighbours(config.readout.knn_neighbours, len(train), data)
    if not data.label_names:
        _check_numbers(getattr(config.dataset, "label", "time"), len(train), len(validation), len(data.test))
        return
    fraction = config.readout.validation_fraction
    learned = np.unique(labels)
    if len(learned) < 2:
        found = f"class '{data.label_names[learned[0]]}' alone" if len(learned) else "none"
        raise ConfigError(
            f"readout.validation_fraction: {fraction:g} leaves the probe {len(train)} of {len(train) + len(validation)} "
            f"training samples, {found}; expected two classes at least. Choose a smaller one, or give more data"
        )
    absent = sorted({*np.unique(data.test.labels).tolist(), *np.unique(data.train.labels).tolist()} - {*learned.tolist()})
    if absent:
        names = ", ".join(f"'{data.label_names[k]}'" for k in absent[:5]) + " ..." * (len(absent) > 5)
        warnings.warn(
            f"readout: the probe's training samples hold none of {names}: test samples of these count as wrong",
            CloserWarning,
            stacklevel=2,
        )


def _check_neighbours(neighbours, samples, data):
    if neighbours is None:
        return
    if not data.label_names:
        raise ConfigError("readout.knn_neighbours: neighbours vote for classes, and dataset.label is a number; expected null")
    if neighbours > samples:
        raise ConfigError(
            f"readout.knn_neighbours: expected at most the probe's {samples} training samples, found {neighbours}; "
            f"choose fewer, such as --set readout.knn_neighbours={min(20, samples)}"
        )


def _check_numbers(label, train, validation, test):
    for name, count in (("training", train), ("validation", validation), ("test", test)):
        if count < 2:
            raise ConfigError(
                f"dataset.label: '{label}' is judged by R^2, for which {count} {name} sample is too few; expected 2. Give "
                f"longer trials, or set dataset.full_range=true"
            )


if __name__ == "__main__":
    raise SystemExit(main())
