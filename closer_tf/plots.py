"""Pictures of runs, drawn from stored results alone. Never imports TensorFlow.

Every function returns a matplotlib Figure; `save` writes one.
"""

import io
import itertools
import warnings

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text

from closer_tf.files import write_atomically
from closer_tf.measures import CIFAR10_CLASS_ORDER

CONDITION_COLOURS = {
    "masked_input": "#1f77b4",
    "full_input": "#7f7f7f",
    "untrained": "#d2691e",
    "closer": "#008000",
    "supervised": "#e0569b",
    "lpl": "#9467bd",
    "notcloser": "#8c564b",
    "tcloser": "#008000",
}
VARIANT_COLOURS = ("C0", "C2", "C4", "C9", "C6", "C8", "C5", "C7", "C3")  # none like that of the untrained
CONDITION_NAMES = {
    "masked_input": "masked input",
    "full_input": "full input",
    "untrained": "untrained",
    "closer": "CLoSeR",
    "supervised": "supervised",
    "lpl": "LPL",
    "notcloser": "NoTCLoSeR",
    "tcloser": "TCLoSeR",
}

VALIDATION_IS_APART = "* another level than training: no dropout or augmentation, other batches; contrast grows with batch size"
"""What is said where both curves of the loss are shown."""


def counted(epochs):
    """A number of epochs in words: '1 epoch', '20 epochs'."""
    return f"{epochs} epoch{'' if epochs == 1 else 's'}"


def save(figure, path):
    """Write a figure as the file type of its suffix, completely or not at all."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # names come from data files: a dollar is a dollar
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a letter of a name that the font lacks is shown as a box
        figure.savefig(buffer, format=str(path).rsplit(".", 1)[-1], dpi=120, bbox_inches="tight")
    write_atomically(path, buffer.getvalue())


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
    axes[0].set_title("stimulus", fontsize=9)
    for i, seen in enumerate(fields.pixels()):
        axes[i + 1].imshow(np.where(seen[..., None], shown, 0.25 + 0.1 * shown))
        axes[i + 1].set_title(f"encoder {i}", fontsize=9)
    coverage = axes[panels - 1].imshow(fields.coverage(), vmin=0, cmap="viridis")
    axes[panels - 1].set_title("encoders per pixel", fontsize=9)
    figure.colorbar(coverage, ax=axes[panels - 1], fraction=0.046)
    return figure


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
        axis.plot(epochs, [row[name] for row in history], color="#1f4e79", label="training", **style)
        if f"val_{name}" in history[0]:
            axis.plot(epochs, [row[f"val_{name}"] for row in history], color="#d2691e", label="validation*", **style)
        axis.set(xlabel="epoch", ylabel=name.replace("_", " "))
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, fontsize=8)
    if any(name.startswith("val_") for name in history[0]):
        figure.supxlabel(VALIDATION_IS_APART, fontsize=7)
    return figure


def plot_accuracy(accuracy, chance=None, simulated=False, score="accuracy"):
    """Test accuracy of each condition: single encoders (dots, and their mean as a bar) beside the ensemble, and the same by
    nearest neighbours where they were asked for.

    Args:
        accuracy: dict condition -> readout -> {'test': fraction, 'per_encoder': [fractions]}, as in results.json.
        chance: accuracy of guessing, drawn as a dotted line; None draws none.
        simulated: say that the data are simulated.
        score: what is shown: 'accuracy', or 'R^2' where labels are numbers.
    """
    titles = {"single": "single encoder", "ensemble": "ensemble"}
    by_neighbours = {"knn_single": "single encoder, kNN", "knn_ensemble": "ensemble, kNN"}
    titles |= by_neighbours if any(name in found for found in accuracy.values() for name in by_neighbours) else {}
    figure = Figure(figsize=(3.2 * len(titles), 3.2), layout="constrained")
    if simulated:
        figure.suptitle("simulated data", fontsize=10)
    for axis, readout in zip(figure.subplots(1, len(titles), sharey=True), titles):
        present = [name for name in CONDITION_COLOURS if readout in accuracy.get(name, {})]
        for position, name in enumerate(present):
            found = accuracy[name][readout]
            axis.bar(position, found["test"], color=CONDITION_COLOURS[name], width=0.7, alpha=0.85)
            dots = found.get("per_encoder", [])
            top = max([found["test"], *dots])
            axis.text(position, top + 0.01, f"{found['test']:.3f}", ha="center", va="bottom", fontsize=8)
            offsets = np.linspace(-0.2, 0.2, len(dots)) if len(dots) > 1 else [0]
            axis.plot(position + np.asarray(offsets[: len(dots)]), dots, ".", color="black", markersize=3)
        axis.set_xticks(range(len(present)), [CONDITION_NAMES[name] for name in present], rotation=20)
        axis.set_title(titles[readout], fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
        if chance is not None:
            axis.axhline(chance, color="black", linestyle=":", linewidth=1, label=f"chance {chance:.3f}")
            axis.legend(frameon=False, fontsize=8, loc="upper left")
        axis.margins(y=0.12)
    figure.axes[0].set_ylabel(f"test {score}")
    return figure


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
    figure.suptitle(title, fontsize=10)
    axes = figure.subplots(1, len(maps), squeeze=False, sharey=True)[0]
    largest = max(np.max(matrix) for matrix in maps.values())
    for axis, (condition, matrix) in zip(axes, maps.items()):
        image = axis.imshow(np.asarray(matrix)[np.ix_(order, order)], cmap="viridis", vmin=0, vmax=largest)
        axis.set_title(CONDITION_NAMES[condition], fontsize=10)
        if len(names) <= 20:
            axis.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
            axis.set_yticks(range(len(names)), names, fontsize=8)
        axis.set_xlabel("k in class")
    axes[0].set_ylabel("b in class")
    figure.colorbar(image, ax=axes.tolist(), fraction=0.03, label="mean p(k | b)", format="%.4f")
    return figure


def plot_raster(counts, fields, title=""):
    """Spike counts of one trial, area by area (paper: figure 7).

    Args:
        counts: array (bins, units).
        fields: `ReceptiveFields` by area.
        title: which trial.
    """
    sizes = [len(cells) for cells in fields.indices]
    figure = Figure(figsize=(7, 1 + 0.012 * sum(sizes) + 0.25 * len(sizes)), layout="constrained")
    figure.suptitle(title, fontsize=10)
    axes = figure.subplots(len(sizes), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": np.maximum(sizes, 15)})
    largest = max(np.quantile(counts[:, np.concatenate(fields.indices)], 0.99), 1)
    for axis, cells, name in zip(axes[:, 0], fields.indices, fields.labels):
        image = axis.imshow(counts[:, cells].T, aspect="auto", cmap="gray_r", vmin=0, vmax=largest, interpolation="nearest")
        axis.set_yticks([])
        axis.set_ylabel(f"{name}\n({len(cells)})", rotation=0, ha="right", va="center", fontsize=8)
    axes[-1, 0].set_xlabel("bin")
    figure.colorbar(image, ax=axes[:, 0].tolist(), fraction=0.02, label="spikes per bin")
    return figure


def plot_embedding_trajectories(embeddings, names=(), columns=5):
    """Embeddings of single trials over time, on the two principal components of what is shown of each encoder.

    Args:
        embeddings: dict condition -> dict trial -> array (bins, N, D).
        names: one per encoder, such as brain areas.
        columns: most encoders to show.
    """
    shown = min(columns, next(iter(next(iter(embeddings.values())).values())).shape[1])
    figure = Figure(figsize=(2.2 * shown, 2.3 * len(embeddings)), layout="constrained")
    colours = ("Blues", "Oranges", "Greens", "Purples")
    for row, (condition, trials) in zip(figure.subplots(len(embeddings), shown, squeeze=False), embeddings.items()):
        for i, axis in enumerate(row):
            together = np.concatenate([values[:, i] for values in trials.values()])
            mean = together.mean(axis=0)
            components = np.zeros((2, together.shape[1]))  # the second stays 0 where there is but one
            found = np.linalg.svd(together - mean, full_matrices=False)[2][:2]
            components[: len(found)] = found
            for values, colour in zip(trials.values(), colours):
                x, y = ((values[:, i] - mean) @ components.T).T
                axis.plot(x, y, color="0.85", linewidth=0.4, zorder=0)
                axis.scatter(x, y, c=len(x) - np.arange(len(x)), cmap=colour, vmin=-len(x) / 3, s=3)
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_title(names[i] if i < len(names) else f"encoder {i}", fontsize=8)
        row[0].set_ylabel(CONDITION_NAMES[condition], fontsize=9)
    trials = ", ".join(f"{name} ({colour.lower()})" for name, colour in zip(next(iter(embeddings.values())), colours))
    figure.suptitle(f"principal components of embeddings, dark to light over time: {trials}", fontsize=9)
    return figure


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
    figure.suptitle(title, fontsize=10)
    for axis, readout in zip(figure.subplots(1, 2, sharey=True), ("single", "ensemble")):
        order = list(CONDITION_COLOURS)
        present = [name for name in accuracy if readout in accuracy[name]]
        present.sort(key=lambda name: (order.index(name.partition(",")[0]), name))
        for position, name in enumerate(present):
            colour = CONDITION_COLOURS[name.partition(",")[0]]
            values = np.asarray(accuracy[name][readout])
            if len(values) > 1 and np.ptp(values) > 0:
                body = axis.violinplot(values, [position], widths=0.8, showextrema=False)["bodies"][0]
                body.set(facecolor=colour, alpha=0.5)
            spread = np.linspace(-0.1, 0.1, len(values)) if len(values) > 1 else [0]
            axis.plot(position + np.asarray(spread), values, ".", color="black", markersize=4)
            axis.plot([position - 0.25, position + 0.25], [values.mean()] * 2, color=colour, linewidth=2)
        axis.set_xticks(
            range(len(present)),
            [_variant(name) for name in present],
            rotation=90 if crowded else 20,
            fontsize=7 if crowded else 8,
        )
        axis.set_title("single encoder" if readout == "single" else "ensemble", fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
        if chance is not None:
            axis.axhline(chance, color="black", linestyle=":", linewidth=1, label=f"chance {chance:.3f}")
            axis.legend(frameon=False, fontsize=8)
    figure.axes[0].set_ylabel(f"test {score}")
    return figure


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
    figure.suptitle(title, fontsize=10)
    for axis, readout in zip(figure.subplots(1, 2, sharey=True), ("single", "ensemble")):
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
            colour = CONDITION_COLOURS["untrained"]
            label = f"untrained, 0 epochs: {start:.3f}"
            drawn.append(axis.axhline(start, color=colour, linestyle="-.", linewidth=1.2, label=label))
        if chance is not None:
            drawn.append(axis.axhline(chance, color="black", linestyle=":", linewidth=1, label=f"chance: {chance:.3f}"))
        if epochs[-1] >= 10 * epochs[0]:
            axis.set_xscale("log")
        _epoch_ticks(axis, epochs)
        axis.set_title("single encoder" if readout == "single" else "ensemble", fontsize=10)
        axis.set_xlabel(f"epochs of training{' (logarithmic)' if axis.get_xscale() == 'log' else ''}")
        axis.spines[["top", "right"]].set_visible(False)
        if drawn:
            axis.legend(handles=drawn, frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    figure.axes[0].set_ylabel(f"test {score}")
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
        return {name: CONDITION_COLOURS[condition] for name, condition in zip(names, conditions)}
    return dict(zip(names, itertools.cycle(VARIANT_COLOURS)))


def _variant(name):
    """'closer, key.path=value, ...' as a tick's label: a line each, keys by their last part."""
    condition, *differing = name.split(", ")
    return "\n".join([CONDITION_NAMES[condition], *map(_short, differing)])


def _short(text):
    key, equals, value = text.partition("=")
    return f"{key.rpartition('.')[2]}={value}" if equals else text


def plot_pseudo_likelihoods(maps, label_names):
    """The heat maps of every encoder, a row per condition; labels and colours as in `plot_pseudo_likelihood`.

    Args:
        maps: dict condition -> list of arrays (classes, classes), one per encoder.
        label_names: str per class.
    """
    order = _class_order(label_names)
    encoders = max(len(matrices) for matrices in maps.values())
    figure = Figure(figsize=(1 + 1.4 * encoders, 1.7 * len(maps)), layout="constrained")
    largest = max(np.max(matrix) for matrices in maps.values() for matrix in matrices)
    axes = figure.subplots(len(maps), encoders, squeeze=False)
    for row, (condition, matrices) in zip(axes, maps.items()):
        for i, (axis, matrix) in enumerate(zip(row, matrices)):
            image = axis.imshow(np.asarray(matrix)[np.ix_(order, order)], cmap="viridis", vmin=0, vmax=largest)
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_title(f"encoder {i}", fontsize=8)
        row[0].set_ylabel(CONDITION_NAMES[condition], fontsize=9)
    figure.colorbar(image, ax=axes.ravel().tolist(), fraction=0.02, label="mean p(k | b)", format="%.4f")
    return figure


def _class_order(label_names):
    """Positions of the classes as they are drawn: CIFAR-10's in the paper's order."""
    if set(label_names) == set(CIFAR10_CLASS_ORDER):
        return [label_names.index(name) for name in CIFAR10_CLASS_ORDER]
    return list(range(len(label_names)))


def plot_graph(graph):
    """An interaction graph in a circle, an arrow from i to j where encoder i is pulled towards encoder j, beside its matrix.

    Args:
        graph: `InteractionGraph`.
    """
    import networkx

    drawn = networkx.DiGraph()
    drawn.add_nodes_from(range(graph.num_encoders))
    drawn.add_edges_from(graph.edges.tolist())
    figure = Figure(figsize=(7.5, 3.6), layout="constrained")
    circle, matrix = figure.subplots(1, 2)
    largest = graph.weights.max()
    networkx.draw_networkx(
        drawn,
        networkx.circular_layout(drawn),
        ax=circle,
        node_color="#dbe9f6",
        edgecolors="#1f4e79",
        font_size=8,
        node_size=260,
        width=[0.3 + 1.2 * graph.matrix()[i, j] / largest for i, j in drawn.edges],
        edge_color="#1f4e79",
        connectionstyle="arc3,rad=0.08",
        arrowsize=8,
    )
    circle.set_aspect("equal")
    circle.axis("off")
    family = graph.family.replace("_", " ")
    circle.set_title(f"{family}: {graph.num_edges} edges, density {graph.density:.2f}", fontsize=10)
    image = matrix.imshow(graph.matrix(), cmap="Blues", vmin=0)
    matrix.set(xlabel="towards encoder j", ylabel="encoder i")
    matrix.set_xticks(range(0, graph.num_encoders, 1 + graph.num_encoders // 20))
    matrix.set_yticks(range(0, graph.num_encoders, 1 + graph.num_encoders // 20))
    figure.colorbar(image, ax=matrix, fraction=0.046, label="edge weight")
    return figure


def _shown(image):
    """An image as RGB in [0, 1]."""
    image = np.asarray(image, dtype=np.float64)
    low, high = image.min(), image.max()
    image = (image - low) / (high - low) if high > low else np.zeros_like(image)
    return np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image[..., :3]
