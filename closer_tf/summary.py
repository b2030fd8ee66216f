"""Many runs in one file and one picture: `python -m closer_tf.summary RUN_DIR ... -o results/NAME`."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from closer_tf.analysis.summaries import read_summary, summarise
from closer_tf.common.command import add_figures, add_plugins, add_version, command_parser, run_command
from closer_tf.common.files import given_path, read_text, write_atomically
from closer_tf.common.values import counted
from closer_tf.config.conditions import UNTRAINED, title_of
from closer_tf.errors import RunError
from closer_tf.results import READOUTS

__all__ = ["main", "read_summary", "summarise"]

EPILOG = """examples:
  python -m closer_tf.summary runs/mouse_* -o results/mouse --title "Mouse 1"
  python -m closer_tf.summary runs/mouse_fold_* -o results/mouse --over-folds
  python -m closer_tf.summary results/mouse.json -o figures/mouse --figures pdf
  python -m closer_tf.summary results/mouse.json runs/mouse_seed_5 -o results/mouse_6_seeds

Writes NAME.json, the numbers, and NAME.png, their picture. exit codes: 0 done, 2 a mistake that the message explains."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = command_parser(
        "python -m closer_tf.summary",
        "Collect the readouts of runs that differ in seed, condition or settings: a JSON file and a picture.",
        EPILOG,
    )
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="RUN_DIR",
        help="run folders that have been read out, and each NAME.json of runs whose folders are elsewhere or gone; "
        "one NAME.json alone is drawn anew",
    )
    parser.add_argument("-o", "--out", required=True, help="path of NAME.json and NAME.png, without suffix")
    parser.add_argument(
        "--over-folds",
        action="store_true",
        help="cross-validation: of each seed the mean over the runs that differ in dataset.fold",
    )
    parser.add_argument(
        "--leave-out",
        action="append",
        default=[],
        metavar="NAME",
        help="do not take over this run of a NAME.json, by its name under 'runs' there (it was run again, say); repeatable",
    )
    parser.add_argument("--title", help="title of the picture (default: none, or that of the NAME.json)")
    add_figures(parser)
    add_plugins(parser)
    add_version(parser)
    options = parser.parse_args(arguments)
    return run_command(lambda: _main(options), needs_keras=False, plugins=options.plugins)


def _main(options):
    from closer_tf import plots

    if len(options.sources) == 1 and options.sources[0].endswith(".json") and not options.leave_out:
        if options.over_folds:
            raise RunError(f"{options.sources[0]}: a summary stays as it was made; give --over-folds with the run folders")
        read_summary(options.sources[0])  # which says what is wrong with it
        older = {"title": "", "score": "accuracy", "simulated": False}  # what files of earlier versions do not say
        summary = {**older, **json.loads(read_text(given_path(options.sources[0])))}
    else:
        summary = {"title": "", **summarise(options.sources, options.over_folds, options.leave_out)}
    if options.title is not None:
        summary["title"] = options.title
    out = given_path(options.out)
    out = out.with_suffix("") if out.suffix in (".json", ".png", ".pdf", ".svg") else out
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out.with_name(f"{out.name}.json"), json.dumps(summary, indent=1) + "\n")
    values = {
        condition: {readout: found["test"] for readout, found in readouts.items() if readout in READOUTS}
        for condition, readouts in summary["accuracy"].items()
    }
    folds = f"means over {len(summary['folds'])} folds" if "folds" in summary else ""
    title = ", ".join(
        part for part in (summary["title"] or _of_what(summary), "simulated data" * summary["simulated"], folds) if part
    )
    chance = None if summary["score"] == "R^2" else summary["chance"]
    figure = plots.plot_violins(values, chance, title, summary["score"])
    plots.save(figure, out.with_name(f"{out.name}.png"), options.figures)
    written = [out.with_name(f"{out.name}.{kind}") for kind in dict.fromkeys(["json", "png", *options.figures])]
    _print(summary["accuracy"])
    if "at_epochs" in summary:
        over_epochs = out.with_name(f"{out.name}_accuracy_over_epochs.png")
        if _draw_over_epochs(summary, title, chance, over_epochs, options.figures):
            written += [over_epochs.with_suffix(f".{kind}") for kind in dict.fromkeys(["png", *options.figures])]
        for epoch, accuracy in summary["at_epochs"].items():
            _print(accuracy, f"  after {counted(int(epoch))}")
        for name, readouts in summary["published"].items():
            for readout, found in readouts.items():
                print(f"{name:>14} {readout:>9}  {found['mean']:.4f}  published, after {found['epochs']} epochs")
    print(f"read: {', '.join(options.sources)}\nwritten: {', '.join(map(str, written))}")


def _of_what(summary):
    """What a summary without a title is headed by: data, epochs and seeds."""
    runs = summary.get("runs", {}).values()
    data = sorted({run["config"]["dataset"]["name"] for run in runs})
    epochs = sorted({run["epochs"] for run in runs if run.get("epochs")})
    seeds = sorted({len(found["test"]) for readouts in summary["accuracy"].values() for found in readouts.values()})
    length = f"{epochs[0]} to {counted(epochs[-1])}" if len(epochs) > 1 else counted(epochs[0]) if epochs else "nothing trained"
    many = f"{seeds[0]} to {seeds[-1]} seeds" if len(seeds) > 1 else f"{seeds[0]} seed{'s' * (seeds[0] != 1)}" if seeds else ""
    return ", ".join(part for part in (*data, length, many) if part)


def _print(accuracy, after=""):
    for name, readouts in accuracy.items():
        condition, comma, keys = name.partition(",")
        condition = f"{title_of(condition)}{comma}{keys}"
        for readout in READOUTS:
            if readout in readouts:
                found = readouts[readout]
                print(f"{condition:>14} {readout:>9}  {found['mean']:.4f} {_spread(found)}{after}")


def _spread(found):
    """How far values lie apart: over seeds and, where each seed has several folds, over these within a seed."""
    seeds = len(found["test"])
    over_seeds = f"+- {found['sd']:.4f} (sd, {seeds} seeds" if seeds > 1 else "(1 seed"
    if "by_fold" not in found:
        return f"{over_seeds})"
    within = float(np.mean(np.std(found["by_fold"], axis=1, ddof=1)))
    return f"{over_seeds}, {len(found['by_fold'][0])} folds each, sd over folds {within:.4f})"


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


if __name__ == "__main__":
    raise SystemExit(main())
