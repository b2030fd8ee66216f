"""Over epochs: the loss and its parts in training, and the accuracy."""

import itertools

import numpy as np
from matplotlib.figure import Figure

from closer_tf.common.values import counted
from closer_tf.config.conditions import UNTRAINED, colour_of
from closer_tf.plots.shared import READOUT_TITLES, labels_of, score_label
from closer_tf.plots.style import TRAINING, VALIDATION, in_style

VALIDATION_IS_APART = "* another level than training: no dropout or augmentation, other batches"
CONTRAST_IS_OF_A_BATCH = "; contrast grows with batch size"
"""What is said where both curves of the loss are shown."""

VARIANT_COLOURS = ("C0", "C2", "C4", "C9", "C6", "C8", "C5", "C7", "C3")  # none like that of the untrained
VARIANT_MARKS = "osD^vP*X"  # as many as share no factor with the colours: 72 variants look each their own way


@in_style
def plot_training_curves(history):
    """The loss and its parts over epochs.

    Args:
        history: list of dicts with `epoch`, `loss` and the loss's parts, and `val_` versions of them.
    """
    names = [key for key in history[0] if key not in ("epoch", "seconds") and not key.startswith("val_")]
    names.sort(key=lambda name: name != "loss")
    columns = min(len(names), 4)
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(3.2 * columns, 2.6 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[len(names) :]:
        axis.axis("off")
    epochs = [row["epoch"] for row in history]
    for axis, name in zip(axes, names):
        style = {"marker": "o", "markersize": 3} if len(history) < 30 else {}
        axis.plot(epochs, [row[name] for row in history], color=TRAINING, label="training", **style)
        if f"val_{name}" in history[0]:
            axis.plot(epochs, [row[f"val_{name}"] for row in history], color=VALIDATION, label="validation*", **style)
        axis.set(xlabel="epoch", ylabel=name.replace("_", " "))
        axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    handles, labels = axes[0].get_legend_handles_labels()
    said = VALIDATION_IS_APART + CONTRAST_IS_OF_A_BATCH * ("contrast" in history[0])
    note = {"title": said} if len(handles) > 1 else {}
    figure.legend(handles, labels, loc="outside lower center", ncols=2, **note)
    return figure


@in_style
def plot_accuracy_over_epochs(
    curves, chance=None, untrained=None, published=None, title="", score="accuracy", per_encoder=None
):
    """Test accuracy after epochs of training, single encoder beside ensemble, on a logarithmic axis where they span decades.

    Args:
        curves: dict condition -> readout ('single', 'ensemble') -> dict epoch -> list of fractions, one per seed. What follows
            a comma in a condition's name tells variants apart. Epoch 0 stands for the untrained ensemble.
        chance: accuracy of guessing, drawn as a dotted line; None draws none.
        untrained: dict readout -> accuracy of untrained encoders, drawn as a line. Default: a single curve's mean at epoch 0.
        published: dict condition -> readout -> {'mean': fraction, 'epochs': int}, drawn as lines.
        title: which run or runs, and how long they were trained.
        score: what is shown: 'accuracy', or 'R^2' where labels are numbers.
        per_encoder: dict epoch -> list of single encoders' fractions, drawn as dots.
    """
    colours, labels = _colours(curves), dict(zip(curves, labels_of(list(curves))))
    epochs = sorted({epoch for of in curves.values() for values in of.values() for epoch in values if epoch})
    figure = Figure(figsize=(9, 3.9 + 0.55 * len(curves)), layout="constrained")
    figure.suptitle(title)
    for axis, (readout, heading) in zip(figure.subplots(1, 2, sharey=True), READOUT_TITLES.items()):
        drawn = []
        for (name, of), mark in zip(curves.items(), itertools.cycle(VARIANT_MARKS)):
            by_epoch = {epoch: values for epoch, values in sorted(of.get(readout, {}).items()) if epoch}
            if by_epoch:
                drawn.append(_curve(axis, by_epoch, colours[name], labels[name], mark))
            found = (published or {}).get(name, {}).get(readout)
            if found:
                label = f"published, {found['epochs']} epochs: {found['mean']:.3f}"
                drawn.append(axis.axhline(found["mean"], color=colours[name], linestyle="--", linewidth=1.2, label=label))
        if per_encoder and readout == "single":
            dots = [(epoch, value) for epoch, values in per_encoder.items() for value in values if epoch]
            drawn += axis.plot(*zip(*dots), ".", color="black", markersize=3, alpha=0.6, zorder=1, label="each encoder")
        starts = [values for of in curves.values() for epoch, values in of.get(readout, {}).items() if epoch == 0]
        start = (untrained or {}).get(readout, np.mean(starts[0]) if len(starts) == 1 else None)
        if start is not None:
            colour = colour_of(UNTRAINED)
            label = f"untrained, 0 epochs: {start:.3f}"
            drawn.append(axis.axhline(start, color=colour, linestyle="-.", linewidth=1.2, label=label))
        if chance is not None:
            drawn.append(axis.axhline(chance, color="black", linestyle=":", linewidth=1, label=f"chance: {chance:.3f}"))
        if epochs[-1] >= 10 * epochs[0]:
            axis.set_xscale("log")
        _epoch_ticks(axis, epochs)
        axis.set_title(heading)
        axis.set_xlabel(f"epochs of training{' (logarithmic)' if axis.get_xscale() == 'log' else ''}")
        if drawn:
            axis.legend(handles=drawn, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    figure.axes[0].set_ylabel(score_label(score))
    return figure


def _curve(axis, by_epoch, colour, name, mark):
    """Means over seeds as a line with bars of one standard deviation; returns what the legend shows."""
    fewest, seeds = (of(len(values) for values in by_epoch.values()) for of in (min, max))
    means = [np.mean(values) for values in by_epoch.values()]
    between = "\n" if len(name) > 14 else " "
    label = f"{name},{between}after {counted(list(by_epoch)[-1])}: {means[-1]:.3f}"
    style = {"color": colour, "markersize": 5, "zorder": 3}
    if seeds == 1:
        return axis.plot(list(by_epoch), means, f"{mark}-", label=label, **style)[0]
    spreads = [np.std(values, ddof=1) if len(values) > 1 else np.nan for values in by_epoch.values()]
    label = f"{label} (mean and sd of {seeds if fewest == seeds else f'{fewest} to {seeds}'} seeds)"
    return axis.errorbar(list(by_epoch), means, spreads, fmt=f"{mark}-", capsize=3, label=label, **style)


def _epoch_ticks(axis, epochs):
    """Ticks at the epochs themselves, with numbers where there is room, at the last in any case."""
    at = [np.log(epoch) if axis.get_xscale() == "log" else epoch for epoch in epochs]
    room, labels, before = 0.09 * (at[-1] - at[0]), [], -np.inf
    for position, epoch in zip(at, epochs):
        shown = epoch == epochs[-1] or (position - before >= room and at[-1] - position >= room)
        labels.append(str(epoch) if shown else "")
        before = position if shown else before
    axis.set_xticks(epochs, labels)
    axis.minorticks_off()


def _colours(names):
    """dict name -> colour: the condition's, or one each where several variants of one condition are shown."""
    conditions = [name.partition(",")[0] for name in names]
    if len(set(conditions)) == len(conditions):
        return {name: colour_of(condition) for name, condition in zip(names, conditions)}
    return dict(zip(names, itertools.cycle(VARIANT_COLOURS)))
