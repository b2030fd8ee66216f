"""The panels in the paper's form: ours filled and solid, the published numbers open and dashed beside them."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.transforms import ScaledTranslation

from closer_tf.plots.shared import side_by_side, write_chance
from closer_tf.plots.style import in_style, write_formula

OURS = Line2D([], [], color="0.3", marker="o", markersize=5, label="ours")
SEEDS = Line2D([], [], color="0.3", marker=".", markersize=3, linestyle="", label="our seeds")
PUBLISHED = Line2D([], [], color="0.3", marker="D", markersize=5, linestyle="--", markerfacecolor="white", label="published")

BAND = Patch(color="0.3", alpha=0.15, linewidth=0, label="95% CI, published")


@in_style
def plot_panel_lines(series, heading, x_label, y_label, chance=None, has_published=True):
    """Accuracies or a measure over a setting.

    Args:
        series: list of dicts with `name`, `colour`, `constant` (true: a line across), and points: `ours` and `published`, lists
            of dicts with `x`, `mean`, `half` (of the interval, or None) and, of ours, `values`, one per seed.
        heading: what the picture is and at which scale.
        x_label, y_label: names of the axes.
        chance: accuracy of guessing, drawn as a dotted line; None draws none.
        has_published: whether the legend names the published.
    """
    figure = Figure(figsize=(6.6, 4.6), layout="constrained")
    axis = figure.subplots()
    figure.suptitle(heading, fontsize=9)
    own = {one["name"]: [point["x"] for point in one["ours"]] for one in series if one["ours"] and not one["constant"]}
    for one in series:
        if one["constant"]:
            _constant(axis, one)
            continue
        _published_line(axis, one["published"], one["colour"])
        _own_line(axis, one["ours"], one["colour"], [_aside(one["name"], point["x"], own) for point in one["ours"]])
    if chance is not None:
        _chance_line(axis, chance)
    axis.set(xlabel=x_label, ylabel=y_label)
    axis.set_xticks(sorted({point["x"] for one in series for point in one["published"] if not one["constant"]}), minor=True)
    axis.spines[["top", "right"]].set_visible(False)
    _legend(figure, series, has_published, bands=any(len(one["published"]) > 1 for one in series))
    return figure


def _aside(name, x, own):
    """By how many points a series' mark at x is moved aside: those of several series at one place stand side by side."""
    here = [other for other, places in own.items() if any(abs(place - x) < 1e-6 for place in places)]
    return side_by_side(len(here), 1.5 * (len(here) - 1))[here.index(name)]


def _own_line(axis, points, colour, offsets):
    if not points:
        return
    x, y, half = _arrays(points)
    axis.plot(x, y, color=colour, linewidth=1.8, zorder=3)
    style = {"color": colour, "marker": "o", "markersize": 5, "capsize": 3, "linewidth": 1.8, "zorder": 3}
    for point, offset, mean, reach in zip(points, offsets, y, half):
        aside = axis.transData + ScaledTranslation(offset / 72, 0, axis.figure.dpi_scale_trans)
        place = [point["x"]] * len(point["values"])
        axis.plot(place, point["values"], ".", color=colour, markersize=3, alpha=0.6, transform=aside)
        axis.errorbar([point["x"]], [mean], [reach] if reach else None, transform=aside, **style)
        seen = [*point["values"], mean - reach, mean + reach]
        axis.update_datalim([(point["x"], value) for value in seen])
    axis.autoscale_view()


def _published_line(axis, points, colour):
    if not points:
        return
    x, y, half = _arrays(points)
    if len(x) > 1:
        axis.fill_between(x, y - half, y + half, color=colour, alpha=0.12, linewidth=0)
    axis.errorbar(
        x, y, half if len(x) == 1 else None, color=colour, marker="D", markersize=4, markerfacecolor="white", linestyle="--",
        linewidth=1, capsize=2, alpha=0.8, zorder=2,
    )  # fmt: skip


def _arrays(points):
    """(positions, means, half intervals) of points."""
    means, halves = ([point[key] or 0.0 for point in points] for key in ("mean", "half"))
    return [point["x"] for point in points], np.array(means), np.array(halves)


def _constant(axis, series):
    for point in series["ours"]:
        mean, half = point["mean"], point["half"]
        axis.axhline(mean, color=series["colour"], linewidth=1.8)
        if half is not None:
            axis.axhspan(mean - half, mean + half, color=series["colour"], alpha=0.12, linewidth=0)
    for point in series["published"]:
        axis.axhline(point["mean"], color=series["colour"], linewidth=1, linestyle="--", alpha=0.8)


@in_style
def plot_panel_violins(columns, names, heading, has_published=True):
    """Distributions over seeds, one column of the picture per readout.

    Args:
        columns: list of dicts with `title`, `y_label`, `chance` (or None) and `series`: one dict per name, or None where
            nothing is known of it, with `colour`, `values` (one per seed), `mean`, `half` (of the interval, or None),
            `published` and `published_half` (or None).
        names: the series' names.
        heading: what the picture is and at which scale.
        has_published: whether the legend names the published.
    """
    figure = Figure(figsize=(1.2 + 3.6 * len(columns), 4.2), layout="constrained")
    figure.suptitle(heading, fontsize=9)
    for axis, column in zip(figure.subplots(1, len(columns), squeeze=False)[0], columns):
        for k, one in enumerate(column["series"]):
            if one is not None:
                _violin(axis, k, one)
        style = {"rotation": 20, "ha": "right", "rotation_mode": "anchor", "fontsize": 8}
        axis.set_xticks(range(len(names)), names, **style)
        axis.set_xlim(-0.6, len(names) - 0.4)
        axis.set_title(column["title"], fontsize=9)
        axis.set_ylabel(column["y_label"])
        axis.spines[["top", "right"]].set_visible(False)
        if column["chance"] is not None:
            _chance_line(axis, column["chance"])
    _legend(figure, [], has_published)
    return figure


def _violin(axis, k, one):
    """One series at position `k`, the published beside it."""
    values, colour = one["values"], one["colour"]
    if len(values) > 2 and np.ptp(values) > 0:
        body = axis.violinplot(values, [k - 0.12], widths=0.5, showextrema=False)["bodies"][0]
        body.set(facecolor=colour, alpha=0.4)
    if values:
        spread = np.linspace(-0.06, 0.06, len(values)) if len(values) > 1 else np.zeros(1)
        axis.plot(k - 0.12 + spread, values, ".", color="black", markersize=3, zorder=3)
        style = {"marker": "o", "markersize": 7, "markeredgecolor": "white", "capsize": 4, "linewidth": 2.2, "zorder": 4}
        axis.errorbar(k - 0.12, one["mean"], one["half"], color=colour, **style)
    if one["published"] is not None:
        style = {"marker": "D", "markersize": 6, "markerfacecolor": "white", "capsize": 3, "linewidth": 1, "zorder": 3}
        axis.errorbar(k + 0.22, one["published"], one["published_half"], color=colour, **style)


@in_style
def plot_panel_matrices(columns, names, heading):
    """Class mean pseudo-likelihoods, ours above the published.

    Args:
        columns: list of dicts with `ours` and `published`, arrays (classes, classes) or None, and `titles` of both.
        names: str per class.
        heading: what the picture is and at which scale.
    """
    figure = Figure(figsize=(1 + 3.2 * len(columns), 6.8), layout="constrained")
    figure.suptitle(heading, fontsize=9)
    shown = [column[key] for column in columns for key in ("ours", "published") if column[key] is not None]
    largest = max((np.max(matrix) for matrix in shown), default=1.0)
    axes = figure.subplots(2, len(columns), squeeze=False, sharex=True, sharey=True)
    image = None
    for k, column in enumerate(columns):
        for axis, key, title in zip(axes[:, k], ("ours", "published"), column["titles"]):
            axis.set_title(title, fontsize=8)
            axis.set_box_aspect(1)
            if column[key] is not None:
                image = axis.imshow(column[key], cmap="viridis", vmin=0, vmax=largest)
            axis.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
            axis.set_yticks(range(len(names)), names, fontsize=7)
    for axis in axes[:, 0]:
        axis.set_ylabel("b in class", fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("k in class", fontsize=8)
    if image is not None:
        figure.colorbar(image, ax=axes.ravel().tolist(), fraction=0.03, label="mean p(k | b)", format="%.4f")
    return figure


def _chance_line(axis, chance):
    axis.axhline(chance, color="black", linestyle=":", linewidth=1)
    write_chance(axis, chance)


def _legend(figure, series, has_published, bands=False):
    drawn = [one for one in series if one["ours"] or one["published"]]
    handles = [Line2D([], [], color=one["colour"], linewidth=3, label=one["name"]) for one in drawn]
    handles += [OURS, SEEDS]
    if has_published:
        handles.append(PUBLISHED)
    if has_published and bands:
        handles.append(BAND)
    columns = len(handles) if len(handles) <= 7 else -(-len(handles) // 2)
    style = {"loc": "outside lower center", "ncols": columns, "frameon": False, "fontsize": 8}
    for text in figure.legend(handles=handles, **style).get_texts():
        if "^" in text.get_text():
            write_formula(text)
