"""Read out what a run's encoders know: `python -m closer_tf.evaluate RUN_DIR`."""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from closer_tf.common.command import add_figures, add_overrides, add_plugins, add_version, run_command
from closer_tf.common.files import make_folder
from closer_tf.config.conditions import CONDITIONS, title_of
from closer_tf.errors import RunError
from closer_tf.readout.known import begin_results, has_layers, has_neighbours, has_whitened, is_done
from closer_tf.readout.trained import load_trained, trained_ensemble
from closer_tf.results import GraphMeasures, peak_so_far, read, write
from closer_tf.training.memory import peak_memory_gb
from closer_tf.training.runs import RunFolder

if TYPE_CHECKING:
    from closer_tf.config import RunConfig
    from closer_tf.data.splits import Splits
    from closer_tf.readout.trained import Trained

EPILOG = """examples:
  python -m closer_tf.evaluate runs/quickstart --set readout.knn_neighbours=20
  python -m closer_tf.evaluate runs/quickstart --set 'readout.at_epochs=[50, 100, 250]'

The latter reads out accuracy over epochs, as far as the weights are there: give readout.at_epochs to the training."""

__all__ = ["evaluate_run", "main", "readout", "trained_ensemble"]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m closer_tf.evaluate",
        description="Linear readout and measures of a run: raw input, untrained and trained encoders, single and ensemble.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
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
        DataError: the run's data cannot be read any more.
    """
    run = RunFolder(run_dir)
    config = run.load_config(overrides)
    with run.locked():
        from closer_tf.readout.checks import check_readout
        from closer_tf.training.determinism import make_deterministic
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
    from closer_tf.nn.precision import products_in

    if not data.labelled:
        print(f"no readout: {data.name} has no labels here, so there is nothing to probe; {run.ensemble_file} gives embeddings")
        return {}
    with products_in(config.compute.precision):
        return _readout(run, config, data, redo, figures, trained).to_dict()


def _readout(run, config, data, redo, figures, trained):
    """Read out, draw and print; returns `Results`."""
    from closer_tf.analysis import over_epochs
    from closer_tf.analysis.pictures import draw_readout, draw_training
    from closer_tf.analysis.tables import print_areas, print_table
    from closer_tf.training.experiment import check_units

    make_folder(run.figures)  # a copy of a run may come without
    data = data.current()  # the readout sees the current bin alone, embeddings and counts alike
    fields = run.load_masks()
    check_units(fields, data)
    trained = trained or load_trained(run, config, data)
    peak = peak_so_far(run.results_file)
    results = begin_results(run, config, data, trained, None if redo else read(run.results_file))
    embeddings, new = _read_out_conditions(run, config, data, fields, trained, results, peak, bool(figures))
    new += _read_out_layers(run, config, data, fields, trained, results)
    over_epochs.read_out(run, config, data, trained, results)
    if fields.labels and results.areas != list(fields.labels):
        results.areas = list(fields.labels)
        write(run.results_file, results)
    _note_graph(run, config, fields, results)
    _note_training(run, config, trained, results)
    if figures:
        draw_training(run, config, data, fields, figures)
    draw_readout(run, data, fields, results, embeddings, figures)
    over_epochs.draw(run, config, results, figures)
    print_table(results)
    print_areas(results)
    if not {*map(title_of, results.accuracy)} <= {*new}:
        print(f"new in this: {', '.join(new) or 'nothing'}; the rest was read out before (--redo reads out all of it again)")
    over_epochs.print_table(config, results)
    for note in results.notes:
        print(f"note: {note}")
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
    from closer_tf.analysis.pictures import has_trials
    from closer_tf.readout.features import embeddings, features
    from closer_tf.readout.measured import measures_of
    from closer_tf.readout.scores import probe
    from closer_tf.readout.whitening import SAYS

    found, new = {}, []
    own = [] if config.trains and not (trained.epochs or trained.step) else [config.condition]
    for condition in [*(c for c in config.readout.conditions if c not in own), *own]:
        name, probed = title_of(condition), is_done(condition, results, config.readout)
        lacking = _lacking(results.accuracy[condition], config.readout) if probed else {}
        if probed and not lacking:
            if drawn and has_trials(data) and CONDITIONS[condition].embeds:
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
            results.accuracy[condition], results.probes[condition] = probe(sets, config, data, name)
            if embedded is not None:
                measured = measures_of(condition, embedded["test"], data.test.labels, data.label_names, config)
                results.measures[condition] = measured
            results.seconds[condition] = round(time.perf_counter() - began, 1)
        if config.readout.whiten:
            results.whitening = SAYS
        results.peak_memory_gb = max(peak, peak_memory_gb())
        write(run.results_file, results)
    return found, new


def _note_graph(run, config, fields, results):
    """Bring the measures of the interaction graph up to date."""
    from closer_tf.analysis.pictures import graph_of
    from closer_tf.graphs import measures

    graph = graph_of(config, fields)
    found = None if graph is None else GraphMeasures(**measures(graph))
    if found is not None and found != results.graph:
        results.graph = found
        write(run.results_file, results)


def _lacking(accuracy, options):
    """What is asked for beside the probe and not in a condition's scores: dict of what it is called to what finds it."""
    from closer_tf.readout.scores import neighbours_of, whitened_of

    lacking = {} if has_neighbours(accuracy, options) else {f"{options.knn_neighbours} nearest neighbours": neighbours_of}
    return lacking if has_whitened(accuracy, options) else {**lacking, "whitened features": whitened_of}


def _read_out_layers(run, config, data, fields, trained, results):
    """Read out the hidden layers of the conditions that are read out, if `readout.layers` asks for it and they are not known;
    arguments as for `_read_out_conditions`. Returns what was read out, in words."""
    from closer_tf.readout.features import ensemble_of
    from closer_tf.readout.layers import layers_of

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
    from closer_tf.analysis.advice import advice, best_of

    with contextlib.suppress(RunError):  # a damaged history.csv, which others complain of
        history, before = run.read_history(), results.to_dict()
        for key, value in (("best", best_of(trained, history)), ("notes", advice(results, config, history))):
            if value:
                setattr(results, key, value)
            else:
                results.absent(key)
        if results.to_dict() != before:
            write(run.results_file, results)


if __name__ == "__main__":
    raise SystemExit(main())
