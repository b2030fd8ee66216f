"""Accuracies: of conditions, of single encoders, and over seeds."""

import numpy as np
from matplotlib.figure import Figure

from closer_tf.config.conditions import colour_of, in_order, title_of
from closer_tf.plots.shared import (
    READOUT_TITLES,
    labels_of,
    name_ticks,
    score_label,
    side_by_side,
    write_chance,
)
from closer_tf.plots.style import in_style

MOST_SIDE_BY_SIDE, LONGEST_NAME = 6, 24  # conditions with upright axes, and letters of a name; else names stand in rows
FEWEST_IN_VIOLIN = 5  # seeds
FURTHER_TITLES = (
    {"knn_single": "single encoder, kNN", "knn_ensemble": "ensemble, kNN"},
    {"whitened_single": "single encoder, whitened", "whitened_ensemble": "ensemble, whitened"},
)


@in_style
def plot_accuracy(accuracy, chance=None, simulated=False, score="accuracy"):
    """Test accuracy of each condition: single encoders (dots, and their mean as a bar) beside the ensemble, and the same by
    nearest neighbours and of whitened features where they were asked for.

    Args:
        accuracy: dict condition -> readout -> {'test': fraction, 'per_encoder': [fractions]}, as in results.json.
        chance: accuracy of guessing, drawn as a dotted line; None draws none.
        simulated: say that the data are simulated.
        score: what is shown: 'accuracy', or 'R^2' where labels are numbers.
    """
    titles = dict(READOUT_TITLES)
    for further in FURTHER_TITLES:
        titles |= further if any(name in found for found in accuracy.values() for name in further) else {}
    figure = Figure(figsize=(3.5 * len(titles), 3.4), layout="constrained")
    if simulated:
        figure.suptitle("simulated data")
    axes = figure.subplots(1, len(titles), sharey=True)
    for axis, (readout, title) in zip(axes, titles.items()):
        present = in_order(name for name in accuracy if readout in accuracy[name])
        for position, name in enumerate(present):
            found = accuracy[name][readout]
            axis.bar(position, found["test"], color=colour_of(name), width=0.7)
            dots = found.get("per_encoder", [])
            axis.plot(
                position + side_by_side(len(dots), 0.2),
                dots,
                ".",
                color="black",
                markersize=3,
                label="single encoders (bar: their mean)",
            )
            _write_value(axis, position, found["test"], max([0.0, found["test"], *dots]))
        name_ticks(axis, [title_of(name) for name in present])
        axis.set_title(title)
    _finish_accuracy(axes, chance, score)
    handles, labels = axes[0].get_legend_handles_labels()
    if any(len(handle.get_xdata()) for handle in handles):
        figure.legend(handles[:1], labels[:1], loc="outside lower left")
    return figure


@in_style
def plot_encoder_accuracy(accuracy, names, chance=None, simulated=False, score="accuracy"):
    """Test accuracy of every single encoder under its own name, a colour per condition.

    Args:
        accuracy: dict condition -> readout -> {'test': fraction, 'per_encoder': [fractions]}, as in results.json.
        names: str per encoder, such as brain areas.
        chance, simulated, score: as for `plot_accuracy`.
    """
    values = {
        name: accuracy[name]["single"]["per_encoder"]
        for name in in_order(accuracy)
        if len(accuracy[name].get("single", {}).get("per_encoder", [])) == len(names)
    }
    figure = Figure(figsize=(min(max(4.5, 1.5 + 0.55 * len(names)), 24), 3.4), layout="constrained")
    if simulated:
        figure.suptitle("simulated data")
    axis = figure.subplots()
    for offset, (name, dots) in zip(side_by_side(len(values), 0.25), values.items()):
        style = {"color": colour_of(name), "label": title_of(name)}
        axis.plot(np.arange(len(names)) + offset, dots, "o", markersize=4.5, **style)
    axis.set_xlim(-0.6, len(names) - 0.4)
    name_ticks(axis, names, every=1 + len(names) // 45)
    axis.grid(axis="x", color="0.9", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.set_title("single encoders")
    _finish_accuracy([axis], chance, score)
    figure.legend(loc="outside lower center", ncols=3)
    return figure


@in_style
def plot_violins(accuracy, chance=None, title="", score="accuracy"):
    """Test accuracy of each condition over seeds, single and ensemble (paper: figure 8): side by side up to chance where they
    are few with short names, else in rows, whose axes reach as far as the values.

    Args:
        accuracy: dict condition -> readout ('single', 'ensemble') -> list of fractions, one per seed. What follows a comma
            in a condition's name tells variants apart.
        chance: accuracy of guessing, drawn as a dotted line; None draws none.
        title: which session, and how many seeds.
        score: what is shown: 'accuracy', or 'R^2' where labels are numbers.
    """
    present = in_order(accuracy)
    labels = labels_of(present)
    upright = len(present) <= MOST_SIDE_BY_SIDE and max(map(len, labels), default=0) <= LONGEST_NAME
    size = (9, 3.8) if upright else (9, 1.6 + 0.27 * len(present))
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(1, 2, sharey=True)
    for axis, (readout, heading) in zip(axes, READOUT_TITLES.items()):
        for position, name in enumerate(present):
            values = np.asarray(accuracy[name].get(readout, []))
            if len(values):
                _over_seeds(axis, position, values, colour_of(name.partition(",")[0]), upright)
        axis.set_title(heading)
    if upright:
        name_ticks(axes[0], labels)
        name_ticks(axes[1], labels)
        axes[0].set_ylabel(score_label(score))
    else:
        axes[0].set_yticks(range(len(present)), labels, fontsize=8)
        axes[0].set_ylim(len(present) - 0.4, -0.6)
        for axis in axes:
            axis.set_xlabel(score_label(score) + (f" (chance {chance:.3f})" if chance is not None else ""))
            axis.grid(axis="y", color="0.9", linewidth=0.6)
            axis.set_axisbelow(True)
    said = "dots: seeds; bar: their mean" + "; shape: their distribution" * any(axis.collections for axis in axes)
    figure.supxlabel(said, x=0.99, ha="right", fontsize=7)
    if chance is not None and upright:
        for axis in axes:
            axis.axhline(chance, color="black", linestyle=":", linewidth=1)
        write_chance(axes[-1], chance)
    return figure


def _over_seeds(axis, position, values, colour, upright):
    """Seeds as dots, their mean as a bar, and of many their distribution, at a place on the axis of names."""
    if len(values) >= FEWEST_IN_VIOLIN and np.ptp(values) > 0:
        way = "vertical" if upright else "horizontal"
        shape = axis.violinplot(values, [position], orientation=way, widths=0.8, showextrema=False)["bodies"][0]
        shape.set(facecolor=colour, alpha=0.5)
    places, ends = position + side_by_side(len(values), 0.1), [position - 0.25, position + 0.25]
    dots, bar = (places, values), (ends, [values.mean()] * 2)
    axis.plot(*(dots if upright else dots[::-1]), ".", color="black", markersize=4, zorder=3)
    axis.plot(*(bar if upright else bar[::-1]), color=colour, linewidth=3)


def _write_value(axis, x, value, top):
    """A value above its bar, on a ground of its own so that no line runs through it."""
    ground = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
    offset = {"xytext": (0, 3), "textcoords": "offset points"}
    axis.annotate(f"{value:.3f}", (x, top), ha="center", va="bottom", fontsize=8, zorder=4, bbox=ground, **offset)


def _finish_accuracy(axes, chance, score):
    """What all pictures of accuracies share: the axis, from 0 to at most 1, and the chance level, named beside the last one."""
    shown = [value for axis in axes for line in axis.lines for value in line.get_ydata()]
    shown += [bar.get_height() for axis in axes for bar in axis.patches]
    high = max([*shown, chance or 0.0, 0.05])
    low = min([0.0, *shown])
    axes[0].set_ylim(low - 0.05 * (low < 0), high + 0.14 * (high - low))
    axes[0].set_yticks([tick for tick in axes[0].get_yticks() if low - 0.05 * (low < 0) <= tick <= max(1.0, high)])
    axes[0].set_ylabel(score_label(score))
    for axis in axes if low < 0 else ():
        axis.axhline(0, color="black", linewidth=0.6)
    if chance is not None:
        for axis in axes:
            axis.axhline(chance, color="black", linestyle=":", linewidth=1)
        write_chance(axes[-1], chance)
