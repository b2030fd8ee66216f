"""Before a training: do receptive fields agree about the label at all? `closer_tf diagnose CONFIG.json`."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from closer_tf.common.backend import import_keras
from closer_tf.common.command import add_figures, add_overrides, add_plugins, add_version, command_parser, run_command
from closer_tf.common.files import given_path, write_atomically
from closer_tf.common.values import shortened
from closer_tf.config import as_config, load_config
from closer_tf.config.composing import located_in
from closer_tf.errors import ConfigError, DataError, RunError

EPILOG = """examples:
  closer_tf diagnose run_configs/gabors_closer.json --set dataset.path=gabors.npz
  closer_tf diagnose mine.json -o results/mine_diagnosis

Writes NAME.png, one page of pictures, and NAME.json, the numbers; the training and validation samples alone are looked at.
docs/diagnose.md says how to read it.
exit codes: 0 done, 2 a mistake that the message explains."""

SAID = {
    "averages": "trial averages, canonical correlations",
    "dissimilarities": "dissimilarities across halves, rank correlations",
    "single_samples": "single samples, canonical correlations",
    "residuals": "single samples less averages",
    "residuals_without_drift": "the same without slow drift",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = command_parser(
        "closer_tf diagnose",
        "Say before a training whether receptive fields agree about the label, and what else they share.",
        EPILOG,
    )
    parser.add_argument("config", help="a run config (JSON), or the name of one that ships with the package")
    add_overrides(parser, "override any key of the config, such as dataset.path=FILE; can be repeated")
    parser.add_argument("-o", "--out", help="path of NAME.png and NAME.json, without suffix (default: <config>_diagnosis)")
    add_figures(parser)
    add_plugins(parser)
    add_version(parser)
    options = parser.parse_args(arguments)
    return run_command(lambda: _main(options), needs_keras=False, plugins=options.plugins)


def _main(options):
    name = re.sub(r"\W+", "_", Path(options.config).stem)
    out = given_path(options.out or f"{name}_diagnosis")
    if not out.parent.is_dir():
        raise RunError(f"{out}: there is no folder {out.parent}")
    config = load_config(options.config, options.overrides)
    try:
        diagnose(config, out, options.figures)
    except ConfigError as error:
        raise ConfigError(located_in(options.config, str(error))) from None


def diagnose(config: Any, out: str | os.PathLike | None = None, figures: Sequence[str] = ()) -> dict[str, Any]:
    """Measure what the receptive fields of a config share; print it, and draw it on one page.

    Args:
        config: `RunConfig`, the path of one, or its content as a dict. Of it, data and masks are used.
        out: path of NAME.png and NAME.json, without suffix. Default: nothing is written.
        figures: formats that the page is written in beside PNG: 'pdf', 'svg'.

    Returns:
        dict: what `closer_tf.analysis.shared_signal.shared_signal` returns, `dataset`, `encoders` (names) and `verdict` (a list
        of sentences).

    Raises:
        ConfigError, DataError: the data or the receptive fields cannot be had, or the data has no labels.
        RunError: a file cannot be written.
    """
    from closer_tf import plots
    from closer_tf.analysis.shared_signal import describe_samples, shared_signal, thinned, verdict
    from closer_tf.plots.runs import has_trials

    config = as_config(config)
    import_keras()
    from closer_tf.training.experiment import load_splits, make_receptive_fields

    data = load_splits(config).current()
    if not data.labelled:
        raise DataError(f"{data.name}: has no labels here, so there is nothing that receptive fields could agree about")
    fields = make_receptive_fields(config, data)
    parts = [split for split in (data.train, data.validation) if len(split)]
    is_sequence = has_trials(data) and bool(np.ptp(data.train.about["frame"]))  # else trials of one bin
    split = thinned(_joined(parts), is_sequence)
    samples = describe_samples(split, is_sequence, _places(data, split))
    views = [fields.apply(split.inputs, i) for i in range(fields.num_encoders)]
    found = shared_signal(views, samples)
    names = list(fields.labels or (f"encoder {i}" for i in range(fields.num_encoders)))
    found |= {"dataset": data.name, "encoders": names, "verdict": verdict(found)}
    _print(found)
    if out is not None:
        out = given_path(out)
        title = f"{shortened(Path(getattr(config.dataset, 'path', None) or data.name).name, 60)}: what receptive fields share"
        if data.simulated:
            title += " (simulated data)"
        figure = plots.plot_diagnosis(found, names, title, found["verdict"])
        plots.save(figure, out.with_name(f"{out.name}.png"), figures)
        write_atomically(out.with_name(f"{out.name}.json"), json.dumps(found, indent=1) + "\n")
        print(f"diagnosis: {out}.png, {out}.json")
    return found


def _places(data, split):
    """Where samples of one bin stand in the order of presentation, array (n,); None where that is not known."""
    if data.name == "gabors":
        return split.about["frame"]
    return split.about.get("trial") if len(data.stimuli) == 1 else None  # trials are counted within each stimulus


def _joined(parts):
    from closer_tf.data.splits import Split

    about = {key: np.concatenate([part.about[key] for part in parts]) for key in parts[0].about}
    return Split(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("inputs", "labels")), about)


def _print(found):
    print(
        f"{found['dataset']}: {found['samples']} samples, {found['conditions']} conditions ({found['condition_is']}), "
        f"{found['repeats']:.0f} repeats of each, {len(found['encoders'])} receptive fields"
    )
    for key, says in SAID.items():
        one = found[key]
        chance = f"  (chance below {one['chance']:.3f})" if one and "chance" in one else ""
        print(f"  {says:<50} {'-' if one is None else format(one['mean'], '.3f')}{chance}")
        if one and "chance" in one and len(found["encoders"]) > 2:
            print(f"    {_extremes(one['matrix'], found['encoders'])}")
    if found["drift"] is not None:
        print(f"  {'slow drift, share of what is not the average':<50} {np.mean(found['drift']):.3f}")
    for sentence in found["verdict"]:
        print(sentence)


def _extremes(matrix, names):
    """Which two fields a measure is largest of, and which one's pairs it is smallest of on average."""
    values = np.array(matrix, dtype=float)
    np.fill_diagonal(values, np.nan)
    i, j = np.unravel_index(np.nanargmax(values), values.shape)
    of_each = np.nanmean(values, axis=1)
    least = int(np.argmin(of_each))
    return f"most: {names[i]} and {names[j]}, {values[i, j]:.3f}; least: {names[least]} with the others, {of_each[least]:.3f}"


if __name__ == "__main__":
    raise SystemExit(main())
