"""Recordings over time: spike counts and embeddings of single trials."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from closer_tf.config.conditions import title_of
from closer_tf.plots.style import in_style

TRIAL_COLOURS = ("Blues", "Oranges", "Greens", "Purples", "Reds", "Greys")  # one colour map per stimulus


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
        extend="max" if counts.max() > largest else "neither",  # a few large counts would leave the others pale
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
