"""What encoders see and whom they learn from: receptive fields and interaction graphs."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from closer_tf.plots.shared import in_short
from closer_tf.plots.style import TRAINING, in_style

MOST_LEVEL = 12  # names around a circle that are written level


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
    coverage = axes[-1].imshow(fields.coverage(), vmin=0, cmap="viridis")  # at the edge, where its bar parts no columns
    axes[-1].set_title("encoders per pixel")
    figure.colorbar(coverage, ax=axes[-1], fraction=0.046)
    figure.supxlabel("dark grey: not seen", x=0.99, ha="right", fontsize=7)
    return figure


@in_style
def plot_coverage(fields, centres, sigmas, expected):
    """Receptive fields on a map: centres with circles of one standard deviation, how many encoders see each pixel, and how many
    are expected to.

    Args:
        fields: `ReceptiveFields` over images.
        centres, sigmas: arrays (N, 2), row and column, and (N,), in pixels.
        expected: array (height, width), as from `closer_tf.masks.expected_coverage`.
    """
    coverage = fields.coverage()
    figure = Figure(figsize=(8.4, 2.8), layout="constrained")
    places, counted, wanted = figure.subplots(1, 3)
    height, width = coverage.shape
    for i, ((row, column), sigma) in enumerate(zip(centres, sigmas)):
        places.add_patch(Circle((column, row), sigma, facecolor=TRAINING, alpha=0.12))
        places.add_patch(Circle((column, row), sigma, fill=False, edgecolor=TRAINING, linewidth=0.8))
        places.text(column, row, i, ha="center", va="center", fontsize=7 if fields.num_encoders <= 40 else 4)
    places.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), aspect="equal")
    places.spines[:].set_visible(True)
    places.set_title("centres, one standard deviation")
    largest = max(coverage.max(), expected.max())
    for axis, values, title in ((counted, coverage, "encoders per pixel"), (wanted, expected, "expected")):
        image = axis.imshow(values, vmin=0, vmax=largest)
        axis.set_title(f"{title}: {values.min():.3g} to {values.max():.3g}")
    for axis in (places, counted, wanted):
        axis.set_xticks([])
        axis.set_yticks([])
    figure.colorbar(image, ax=[counted, wanted], fraction=0.046)
    return figure


def _shown(image):
    """An image as RGB in [0, 1]; of two channels, or of more than four, their mean in grey."""
    image = np.asarray(image, dtype=np.float64)
    low, high = image.min(), image.max()
    image = (image - low) / (high - low) if high > low else np.zeros_like(image)
    if image.shape[-1] in (3, 4):
        return image[..., :3]
    return np.repeat(image.mean(axis=-1, keepdims=True), 3, axis=-1)


@in_style
def plot_graph(graph, names=(), centres=None):
    """An interaction graph in a circle, an arrow from i to j where encoder i is pulled towards encoder j, beside its matrix.

    Args:
        graph: `InteractionGraph`.
        names: one per encoder, such as brain areas. Default: their numbers.
        centres: array (N, 2), row and column of the encoders' receptive fields, to draw the graph there in place of a circle.
    """
    import networkx

    count = graph.num_encoders
    named = len(names) == count
    drawn = networkx.DiGraph()
    drawn.add_nodes_from(range(count))
    drawn.add_edges_from(graph.edges.tolist())
    figure = Figure(figsize=(8.4, 3.9), layout="constrained")
    circle, matrix = figure.subplots(1, 2)
    largest, names = graph.weights.max(), in_short(names)
    at = networkx.circular_layout(drawn) if centres is None else {i: (x, -y) for i, (y, x) in enumerate(centres)}
    size = min(260, (600 / count / _reach(names if named else ())) ** 2)  # points squared: no two in a circle touch
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
    """Names outside a circle of nodes: level, or, of many, each turned towards the outside."""
    level, reach = len(names) <= MOST_LEVEL, _reach(names)
    for (x, y), name in zip(places, names):
        if level:
            across = "center" if abs(x) < 0.2 else "left" if x > 0 else "right"
            upwards = "center" if abs(y) < 0.2 else "bottom" if y > 0 else "top"
            axis.text(1.16 * x, 1.16 * y, name, ha=across, va=upwards, fontsize=8)
        else:
            turned, left = np.degrees(np.arctan2(y, x)), x < -1e-9
            style = {"ha": "right" if left else "left", "va": "center", "rotation_mode": "anchor", "fontsize": 6}
            axis.text(1.1 * x, 1.1 * y, name, rotation=turned + 180 * left, **style)
    axis.set(xlim=(-reach, reach), ylim=(-1.4, 1.4) if level else (-reach, reach))


def _reach(names):
    """How far names reach around a circle of radius 1."""
    return 1.0 + 0.09 * max(map(len, names), default=0)
