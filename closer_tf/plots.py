"""Pictures of runs, drawn from stored results alone. Never imports TensorFlow.

Every function returns a matplotlib Figure; `save` writes one.
"""

import itertools

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from closer_tf.config.conditions import UNTRAINED, colour_of, in_order, title_of
from closer_tf.measures import CIFAR10_CLASS_ORDER
from closer_tf.style import TRAINING, VALIDATION, in_style, save

__all__ = [
    "plot_accuracy",
    "plot_accuracy_over_epochs",
    "plot_embedding_trajectories",
    "plot_encoder_accuracy",
    "plot_graph",
    "plot_pseudo_likelihood",
    "plot_pseudo_likelihoods",
    "plot_raster",
    "plot_receptive_fields",
    "plot_training_curves",
    "plot_violins",
    "save",
    "write_chance",
]

VALIDATION_IS_APART = "* another level than training: no dropout or augmentation, other batches; contrast grows with batch size"
"""What is said where both curves of the loss are shown."""


def counted(epochs):
    """A number of epochs in words: '1 epoch', '20 epochs'."""
    return f"{epochs} epoch{'' if epochs == 1 else 's'}"


READOUT_TITLES = {"single": "single encoder", "ensemble": "ensemble"}
VARIANT_COLOURS = ("C0", "C2", "C4", "C9", "C6", "C8", "C5", "C7", "C3")  # none like that of the untrained
TRIAL_COLOURS = ("Blues", "Oranges", "Greens", "Purples", "Reds", "Greys")  # one colour map per stimulus
MOST_LABELS = 20  # classes that are named on an axis
MOST_MAPS = 30  # encoders whose heat maps are drawn


@in_style
def plot_receptive_fields(fields, image, columns=6):
    """The image as each encoder sees it, and how many encoders see each pixel.

    Args:
        fields: `ReceptiveFields` over images.
        image: array (height, width, channels), any number range.
        columns: panels per row.
    """
    shown = _shown(image)
    panels = fields.num_encoders + 2
    rows = -(-panels // columns)
    figure = Figure(figsize=(1.6 * columns, 1.8 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    axes[0].imshow(shown)
    axes[0].set_title("stimulus")
    for i, seen in enumerate(fields.pixels()):
        axes[i + 1].imshow(np.where(seen[..., None], shown, 0.25 + 0.1 * shown))
        axes[i + 1].set_title(f"encoder {i}")
    coverage = axes[panels - 1].imshow(fields.coverage(), vmin=0, cmap="viridis")
    axes[panels - 1].set_title("encoders per pixel")
    figure.colorbar(coverage, ax=axes[panels - 1], fraction=0.046)
    return figure


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
        axis.xaxis.get_major_locator().set_params(integer=True)
    handles, labels = axes[0].get_legend_handles_labels()
    note = {"title": VALIDATION_IS_APART} if len(handles) > 1 else {}
    figure.legend(handles, labels, loc="outside lower center", ncols=2, **note)
    return figure


@in_style
def plot_accuracy(accuracy, chance=None, simulated=False, score="accuracy"):
    """Test accuracy of each condition: single encoders (dots, and their mean as a bar) beside the ensemble, and the same by
    nearest neighbours where they were asked for.

    Args:
        accuracy: dict condition -> readout -> {'test': fraction, 'per_encoder': [fractions]}, as in results.json.
        chance: accuracy of guessing, drawn as a dotted line; None draws none.
        simulated: say that the data are simulated.
        score: what is shown: 'accuracy', or 'R^2' where labels are numbers.
    """
    titles = dict(READOUT_TITLES)
    by_neighbours = {"knn_single": "single encoder, kNN", "knn_ensemble": "ensemble, kNN"}
    titles |= by_neighbours if any(name in found for found in accuracy.values() for name in by_neighbours) else {}
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
                position + _side_by_side(len(dots), 0.2),
                dots,
                ".",
                color="black",
                markersize=3,
                label="single encoders (bar: their mean)",
            )
            _write_value(axis, position, found["test"], max([0.0, found["test"], *dots]))
        _name_ticks(axis, [title_of(name) for name in present])
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
    for offset, (name, dots) in zip(_side_by_side(len(values), 0.25), values.items()):
        style = {"color": colour_of(name), "label": title_of(name)}
        axis.plot(np.arange(len(names)) + offset, dots, "o", markersize=4.5, **style)
    axis.set_xlim(-0.6, len(names) - 0.4)
    _name_ticks(axis, names, every=1 + len(names) // 45)
    axis.grid(axis="x", color="0.9", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.set_title("single encoders")
    _finish_accuracy([axis], chance, score)
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def _side_by_side(count, reach):
    """Offsets of so many marks around a position."""
    return np.linspace(-reach, reach, count) if count > 1 else np.zeros(count)


def _write_value(axis, x, value, top):
    """A value above its bar, on a ground of its own so that no line runs through it."""
    ground = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
    offset = {"xytext": (0, 3), "textcoords": "offset points"}
    axis.annotate(f"{value:.3f}", (x, top), ha="center", va="bottom", fontsize=8, zorder=4, bbox=ground, **offset)


def _name_ticks(axis, names, every=1):
    """One tick per name, or per some names where there are many, the end of the name at its tick."""
    axis.set_xticks(range(0, len(names), every), names[::every], rotation=30, ha="right", rotation_mode="anchor")


def _finish_accuracy(axes, chance, score):
    """What all pictures of accuracies share: the axis, from 0 to at most 1, and the chance level, named beside the last one."""
    shown = [value for axis in axes for line in axis.lines for value in line.get_ydata()]
    shown += [bar.get_height() for axis in axes for bar in axis.patches]
    high = max([*shown, chance or 0.0, 0.05])
    low = min([0.0, *shown])
    axes[0].set_ylim(low - 0.05 * (low < 0), high + 0.14 * (high - low))
    axes[0].set_yticks([tick for tick in axes[0].get_yticks() if low - 0.05 * (low < 0) <= tick <= max(1.0, high)])
    axes[0].set_ylabel(_score_label(score))
    for axis in axes if low < 0 else ():
        axis.axhline(0, color="black", linewidth=0.6)
    if chance is not None:
        for axis in axes:
            axis.axhline(chance, color="black", linestyle=":", linewidth=1)
        write_chance(axes[-1], chance)


def _score_label(score):
    return f"test {score}".replace("^2", "²")


def write_chance(axis, chance):
    """The chance level, right of an axis, where nothing else is."""
    axis.text(1.02, chance, f"chance\n{chance:.3f}", transform=axis.get_yaxis_transform(), va="center", fontsize=8)


@in_style
def plot_pseudo_likelihood(maps, label_names, title=""):
    """Heat maps of the class mean conditional pseudo-likelihood of one encoder (paper: figure 2a).

    Args:
        maps: dict condition -> array (classes, classes), row: the given class, column: the class it makes likely.
        label_names: str per class. CIFAR-10's are drawn in the paper's order, vehicles first.
        title: what encoder this is.
    """
    order = _class_order(label_names)
    names = [label_names[k] for k in order]
    figure = Figure(figsize=(1 + 3.6 * len(maps), 4), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(1, len(maps), squeeze=False, sharey=True)[0]
    largest = max(np.max(matrix) for matrix in maps.values())
    for axis, (condition, matrix) in zip(axes, maps.items()):
        image = axis.imshow(np.asarray(matrix)[np.ix_(order, order)], cmap="viridis", vmin=0, vmax=largest)
        axis.set_title(title_of(condition))
        _name_classes(axis, names, 8)
        axis.set_xlabel("k in class")
    axes[0].set_ylabel("b in class")
    figure.colorbar(image, ax=axes.tolist(), fraction=0.03, label="mean p(k | b)", format="%.4f")
    return figure


@in_style
def plot_raster(counts, fields, title="", bin_width=None, first_bin=0):
    """Spike counts of one trial, area by area (paper: figure 7).

    Args:
        counts: array (bins, units).
        fields: `ReceptiveFields` by area.
        title: which trial.
        bin_width: seconds per bin. Default: time is counted in bins.
        first_bin: number of the first bin shown, from the trial's beginning.
    """
    sizes = [len(cells) for cells in fields.indices]
    figure = Figure(figsize=(7, 1 + 0.012 * sum(sizes) + 0.25 * len(sizes)), layout="constrained")
    figure.suptitle(title)
    start, end = np.array([first_bin, first_bin + len(counts)]) * (bin_width or 1)
    axes = figure.subplots(len(sizes), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": np.maximum(sizes, 15)})
    largest = max(np.quantile(counts[:, np.concatenate(fields.indices)], 0.99), 1)
    for axis, cells, name in zip(axes[:, 0], fields.indices, fields.labels):
        style = {"cmap": "gray_r", "vmin": 0, "vmax": largest, "interpolation": "nearest"}
        image = axis.imshow(counts[:, cells].T, aspect="auto", extent=(start, end, len(cells), 0), **style)
        axis.set_yticks([])
        axis.spines[:].set_visible(True)
        units = f"{len(cells)} unit{'s' * (len(cells) > 1)}"
        axis.set_ylabel(f"{name}\n{units}", rotation=0, ha="right", va="center", fontsize=8)
    axes[-1, 0].set_xlabel("time in the trial (s)" if bin_width else "bin of the trial")
    figure.colorbar(
        image,
        ax=axes[:, 0].tolist(),
        fraction=0.02,
        label=f"spikes per bin of {1000 * bin_width:.3g} ms" if bin_width else "spikes per bin",
    )
    return figure


@in_style
def plot_embedding_trajectories(embeddings, names=(), columns=12, seconds=None):
    """Embeddings of single trials over time, on the two principal components of what is shown of each encoder.

    Args:
        embeddings: dict condition -> dict trial -> array (bins, N, D).
        names: one per encoder, such as brain areas.
        columns: most encoders to show; the picture says when there are more.
        seconds: dict trial -> how long it is shown, in seconds. Default: time is counted in bins.
    """
    trials = list(next(iter(embeddings.values())).items())[: len(TRIAL_COLOURS)]
    encoders = trials[0][1].shape[1]
    shown = min(columns, encoders)
    figure = Figure(figsize=(max(5.5, 1.75 * shown), 1.0 + 1.9 * len(embeddings)), layout="constrained")
    for row, (condition, values) in zip(figure.subplots(len(embeddings), shown, squeeze=False), embeddings.items()):
        for i, axis in enumerate(row):
            _draw_paths(axis, [values[trial][:, i] for trial, _ in trials])
            axis.set_title(names[i] if i < len(names) else f"encoder {i}", fontsize=8)
        row[0].annotate(title_of(condition), (-0.32, 0.5), xycoords="axes fraction", rotation=90, ha="right", va="center")
    lasts = [f"{seconds[trial]:.3g} s" if seconds else f"{len(values)} bins" for trial, values in trials]
    marks = [Line2D([], [], color=_colour_map(k)(0.7), marker="o", linestyle="") for k in range(len(trials))]
    figure.legend(marks, [f"{t}, {last}" for (t, _), last in zip(trials, lasts)], loc="outside lower center", ncols=2)
    left_out = "" if shown == encoders else f", first {shown} of {encoders} encoders"
    given = len(next(iter(embeddings.values())))
    left_out += "" if given == len(trials) else f", first {len(trials)} of {given} stimuli"
    figure.suptitle(f"embeddings over time, from dark to light{left_out}")
    return figure


def _draw_paths(axis, paths):
    """Paths (bins, D) in their own two principal components, with the part of the variance that each has."""
    together = np.concatenate(paths)
    mean = together.mean(axis=0)
    _, spread, components = np.linalg.svd(together - mean, full_matrices=False)
    parts = np.zeros(2)
    parts[: min(2, len(spread))] = (spread**2 / max((spread**2).sum(), 1e-300))[:2]
    for k, path in enumerate(paths):
        at = np.zeros((len(path), 2))
        at[:, : min(2, len(components))] = (path - mean) @ components[:2].T
        axis.plot(*at.T, color="0.85", linewidth=0.4, zorder=0)
        axis.scatter(*at.T, c=len(at) - np.arange(len(at)), cmap=_colour_map(k), vmin=-len(at) / 3, s=3)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_xlabel(f"PC 1 ({parts[0]:.0%})", fontsize=7)
    axis.set_ylabel(f"PC 2 ({parts[1]:.0%})", fontsize=7)


def _colour_map(k):
    from matplotlib import colormaps

    return colormaps[TRIAL_COLOURS[k]]


@in_style
def plot_violins(accuracy, chance=None, title="", score="accuracy"):
    """Distribution over seeds of each condition's test accuracy, single and ensemble (paper: figure 8).

    Args:
        accuracy: dict condition -> readout ('single', 'ensemble') -> list of fractions, one per seed. What follows a comma
            in a condition's name tells variants apart.
        chance: accuracy of guessing, drawn as a dotted line; None draws none.
        title: which session, and how many seeds.
        score: what is shown: 'accuracy', or 'R^2' where labels are numbers.
    """
    crowded = len(accuracy) > 6
    figure = Figure(figsize=(1.3 * len(accuracy), 5.5) if crowded else (9, 3.6), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(1, 2, sharey=True)
    for axis, (readout, heading) in zip(axes, READOUT_TITLES.items()):
        present = in_order(name for name in accuracy if readout in accuracy[name])
        for position, name in enumerate(present):
            colour = colour_of(name.partition(",")[0])
            values = np.asarray(accuracy[name][readout])
            if len(values) > 1 and np.ptp(values) > 0:
                body = axis.violinplot(values, [position], widths=0.8, showextrema=False)["bodies"][0]
                body.set(facecolor=colour, alpha=0.5)
            spread = position + _side_by_side(len(values), 0.1)
            axis.plot(spread, values, ".", color="black", markersize=4)
            axis.plot([position - 0.25, position + 0.25], [values.mean()] * 2, color=colour, linewidth=2)
        labels = [_variant(name) for name in present]
        if crowded:
            axis.set_xticks(range(len(present)), labels, rotation=90, fontsize=7)
        else:
            _name_ticks(axis, labels)
        axis.set_title(heading)
    axes[0].set_ylabel(_score_label(score))
    if chance is not None:
        for axis in axes:
            axis.axhline(chance, color="black", linestyle=":", linewidth=1)
        write_chance(axes[-1], chance)
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
    colours = _colours(curves)
    epochs = sorted({epoch for of in curves.values() for values in of.values() for epoch in values if epoch})
    figure = Figure(figsize=(9, 3.9 + 0.55 * len(curves)), layout="constrained")
    figure.suptitle(title)
    for axis, (readout, heading) in zip(figure.subplots(1, 2, sharey=True), READOUT_TITLES.items()):
        drawn = []
        for name, of in curves.items():
            by_epoch = {epoch: values for epoch, values in sorted(of.get(readout, {}).items()) if epoch}
            if by_epoch:
                drawn.append(_curve(axis, by_epoch, colours[name], ", ".join(_variant(name).split("\n"))))
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
    figure.axes[0].set_ylabel(_score_label(score))
    return figure


def _curve(axis, by_epoch, colour, name):
    """Means over seeds as a line with bars of one standard deviation; returns what the legend shows."""
    seeds = max(len(values) for values in by_epoch.values())
    means = [np.mean(values) for values in by_epoch.values()]
    between = "\n" if len(name) > 20 else " "
    label = f"{name},{between}after {counted(list(by_epoch)[-1])}: {means[-1]:.3f}"
    style = {"color": colour, "markersize": 5, "zorder": 3}
    if seeds == 1:
        return axis.plot(list(by_epoch), means, "o-", label=label, **style)[0]
    spreads = [np.std(values, ddof=1) if len(values) > 1 else 0 for values in by_epoch.values()]
    label = f"{label} (mean and sd of {seeds} seeds)"
    return axis.errorbar(list(by_epoch), means, spreads, fmt="o-", capsize=3, label=label, **style)


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


def _variant(name):
    """'closer, key.path=value, ...' as a tick's label: a line each, keys by their last part."""
    condition, *differing = name.split(", ")
    return "\n".join([title_of(condition), *map(_short, differing)])


def _short(text):
    key, equals, value = text.partition("=")
    return f"{key.rpartition('.')[2]}={value}" if equals else text


@in_style
def plot_pseudo_likelihoods(maps, label_names, names=()):
    """The heat maps of every encoder, a row per condition; labels and colours as in `plot_pseudo_likelihood`.

    Args:
        maps: dict condition -> list of arrays (classes, classes), one per encoder.
        label_names: str per class.
        names: one per encoder, such as brain areas.
    """
    order = _class_order(label_names)
    classes = [label_names[k] for k in order]
    count = max(len(matrices) for matrices in maps.values())
    encoders = min(count, MOST_MAPS)
    figure = Figure(figsize=(1.6 + 1.5 * encoders, 0.6 + 1.8 * len(maps)), layout="constrained")
    if encoders < count:
        figure.suptitle(f"first {encoders} of {count} encoders")
    largest = max(np.max(matrix) for matrices in maps.values() for matrix in matrices)
    axes = figure.subplots(len(maps), encoders, squeeze=False)
    for row, (condition, matrices) in zip(axes, maps.items()):
        for i, (axis, matrix) in enumerate(zip(row, matrices)):
            image = axis.imshow(np.asarray(matrix)[np.ix_(order, order)], cmap="viridis", vmin=0, vmax=largest)
            _name_classes(axis, classes, 6)
            axis.label_outer()
            axis.set_title(names[i] if i < len(names) else f"encoder {i}", fontsize=8)
        row[0].set_ylabel(f"{title_of(condition)}\nb in class")
    for axis in axes[-1]:
        axis.set_xlabel("k in class", fontsize=7)
    figure.colorbar(image, ax=axes.ravel().tolist(), fraction=0.02, label="mean p(k | b)", format="%.4f")
    return figure


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


@in_style
def plot_graph(graph, names=()):
    """An interaction graph in a circle, an arrow from i to j where encoder i is pulled towards encoder j, beside its matrix.

    Args:
        graph: `InteractionGraph`.
        names: one per encoder, such as brain areas. Default: their numbers.
    """
    import networkx

    count = graph.num_encoders
    named = len(names) == count
    drawn = networkx.DiGraph()
    drawn.add_nodes_from(range(count))
    drawn.add_edges_from(graph.edges.tolist())
    figure = Figure(figsize=(8.4, 3.9), layout="constrained")
    circle, matrix = figure.subplots(1, 2)
    largest = graph.weights.max()
    at = networkx.circular_layout(drawn)
    size = min(260, (600 / count) ** 2)
    networkx.draw_networkx(
        drawn,
        at,
        ax=circle,
        with_labels=not named and count <= 40,
        node_color="#dbe9f6",
        edgecolors=TRAINING,
        font_size=8 if count <= 25 else 5,
        node_size=size,
        width=[0.3 + 1.2 * graph.matrix()[i, j] / largest for i, j in drawn.edges],
        edge_color=TRAINING,
        connectionstyle="arc3,rad=0.08",
        arrowsize=8,
    )
    if named:
        _name_nodes(circle, [at[i] for i in range(count)], names)
    circle.set_aspect("equal")
    circle.axis("off")
    family = graph.family.replace("_", " ")
    circle.set_title(f"{family}: {graph.num_edges} edges, density {graph.density:.2f}")
    image = matrix.imshow(graph.matrix(), cmap="Blues", vmin=0)
    ticks = range(0, count, 1 + count // 20)
    labels = [names[i] if named else i for i in ticks]
    matrix.set_xticks(ticks, labels, rotation=90 if named else 0)
    matrix.set_yticks(ticks, labels)
    matrix.set(xlabel="towards area" if named else "towards encoder j", ylabel="area" if named else "encoder i")
    matrix.spines[:].set_visible(True)
    figure.colorbar(image, ax=matrix, fraction=0.046, label="edge weight")
    return figure


def _name_nodes(axis, places, names):
    """Names outside a circle of nodes, each turned towards the outside."""
    for (x, y), name in zip(places, names):
        across = "center" if abs(x) < 0.2 else "left" if x > 0 else "right"
        upwards = "center" if abs(y) < 0.2 else "bottom" if y > 0 else "top"
        axis.text(1.16 * x, 1.16 * y, name, ha=across, va=upwards, fontsize=8)
    reach = 1.0 + 0.09 * max(map(len, names))
    axis.set(xlim=(-reach, reach), ylim=(-1.4, 1.4))


def _shown(image):
    """An image as RGB in [0, 1]."""
    image = np.asarray(image, dtype=np.float64)
    low, high = image.min(), image.max()
    image = (image - low) / (high - low) if high > low else np.zeros_like(image)
    return np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image[..., :3]
