"""Heat maps of the class mean conditional pseudo-likelihood."""

import numpy as np
from matplotlib.figure import Figure

from closer_tf.config.conditions import title_of
from closer_tf.plots.style import in_style

# Rows and columns of the published CIFAR-10 heat maps: vehicles, then animals.
CIFAR10_CLASS_ORDER = ("automobile", "truck", "ship", "airplane", "bird", "deer", "frog", "cat", "dog", "horse")
MOST_LABELS = 20  # classes that are named on an axis
MOST_MAPS = 30  # encoders whose heat maps are drawn
MAPS_IN_A_ROW = 10


@in_style
def plot_pseudo_likelihood(maps, label_names, title="", temperatures=None):
    """Heat maps of the class mean conditional pseudo-likelihood of one encoder (paper: figure 2a).

    Args:
        maps: dict condition -> array (classes, classes), row: the given class, column: the class it makes likely.
        label_names: str per class. CIFAR-10's are drawn in the paper's order, vehicles first.
        title: what encoder this is.
        temperatures: dict condition -> temperature of its map, which the heading of each says. Default: not said.
    """
    order = _class_order(label_names)
    names = [label_names[k] for k in order]
    figure = Figure(figsize=(1 + 3.6 * len(maps), 4), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(1, len(maps), squeeze=False, sharey=True)[0]
    largest = max(np.max(matrix) for matrix in maps.values())
    for axis, (condition, matrix) in zip(axes, maps.items()):
        image = axis.imshow(np.asarray(matrix)[np.ix_(order, order)], cmap="viridis", vmin=0, vmax=largest)
        axis.set_title(_titled(condition, temperatures))
        _name_classes(axis, names, 8)
        axis.set_xlabel("k in class")
    axes[0].set_ylabel("b in class")
    figure.colorbar(image, ax=axes.tolist(), fraction=0.03, label="mean p(k | b)", format="%.4f")
    return figure


@in_style
def plot_pseudo_likelihoods(maps, label_names, names=(), temperatures=None):
    """The heat maps of every encoder, ten in a row, rows per condition; labels and colours as in `plot_pseudo_likelihood`.

    Args:
        maps: dict condition -> list of arrays (classes, classes), one per encoder.
        label_names: str per class.
        names: one per encoder, such as brain areas.
        temperatures: as for `plot_pseudo_likelihood`.
    """
    order = _class_order(label_names)
    classes = [label_names[k] for k in order]
    count = max(len(matrices) for matrices in maps.values())
    encoders = min(count, MOST_MAPS)
    columns, lines = min(encoders, MAPS_IN_A_ROW), -(-encoders // MAPS_IN_A_ROW)
    figure = Figure(figsize=(1.6 + 1.5 * columns, 0.6 + 1.8 * lines * len(maps)), layout="constrained")
    if encoders < count:
        figure.suptitle(f"first {encoders} of {count} encoders")
    largest = max(np.max(matrix) for matrices in maps.values() for matrix in matrices)
    axes = figure.subplots(len(maps) * lines, columns, squeeze=False)
    for rows, (condition, matrices) in zip(np.split(axes, len(maps)), maps.items()):
        for axis in rows.ravel()[min(encoders, len(matrices)) :]:
            axis.axis("off")
        for i, (axis, matrix) in enumerate(zip(rows.ravel(), matrices)):
            image = axis.imshow(np.asarray(matrix)[np.ix_(order, order)], cmap="viridis", vmin=0, vmax=largest)
            _name_classes(axis, classes, 6)
            axis.label_outer()
            axis.set_title(names[i] if i < len(names) else f"encoder {i}", fontsize=8)
        for row in rows:
            row[0].set_ylabel(f"{_titled(condition, temperatures)}\nb in class")
    for axis in axes[-1]:
        axis.set_xlabel("k in class", fontsize=7)
    figure.colorbar(image, ax=axes.ravel().tolist(), fraction=0.02, label="mean p(k | b)", format="%.4f")
    return figure


def _titled(condition, temperatures):
    """A condition's title, and the temperature of its map where it is known: maps of different ones have different ranges."""
    known = (temperatures or {}).get(condition)
    return title_of(condition) if known is None else f"{title_of(condition)}, τ = {known:.4g}"


def _name_classes(axis, names, fontsize):
    """The classes on both axes of a heat map; none where there are too many to read."""
    shown = names if len(names) <= MOST_LABELS else []
    turned = 90 if max(map(len, shown), default=0) > 2 else 0
    axis.set_xticks(range(len(shown)), shown, rotation=turned, fontsize=fontsize)
    axis.set_yticks(range(len(shown)), shown, fontsize=fontsize)


def _class_order(label_names):
    """Positions of the classes as they are drawn: CIFAR-10's in the paper's order."""
    if set(label_names) == set(CIFAR10_CLASS_ORDER):
        return [label_names.index(name) for name in CIFAR10_CLASS_ORDER]
    return list(range(len(label_names)))
