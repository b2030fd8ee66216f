"""The panels in the paper's form: ours filled and solid, the published numbers open and dashed beside them."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from closer_tf.config.conditions import CONDITIONS, colour_of
from closer_tf.plots import write_chance
from closer_tf.published import reference
from closer_tf.reproduction.panels import published_points
from closer_tf.reproduction.results import of_series
from closer_tf.style import in_style

READOUT_NAMES = {"single": "single encoder", "ensemble": "ensemble", "alignment": "alignment of embedding maps"}
OURS = Line2D([], [], color="0.3", marker="o", markersize=5, label="ours")
PUBLISHED = Line2D([], [], color="0.3", marker="D", markersize=5, linestyle="--", markerfacecolor="white", label="published")


@in_style
def draw(panel, name, found, rows, heading):
    """The picture of a panel.

    Args:
        panel: `Panel`.
        name: the paper's name of it, such as '3b'.
        found: list of `Found` of its sweep.
        rows: its table, from `rows_of`.
        heading: str, what the picture is and at which scale.

    Returns:
        matplotlib Figure.
    """
    chance = next((one.about["chance"] for one in found), None)
    forms = {"lines": _lines, "violins": _violins, "matrices": _matrices}
    return forms[panel.form](panel, found, rows, heading, chance)


def _lines(panel, found, rows, heading, chance):
    figure = Figure(figsize=(6.6, 4.6), layout="constrained")
    axis = figure.subplots()
    figure.suptitle(heading, fontsize=9)
    for series in panel.series:
        colour = _colour(series)
        mine = [row for row in rows if row["series"] == series.name and row["ours"] is not None]
        theirs = [row for row in rows if row["series"] == series.name and row["published"] is not None]
        if series.constant:
            _constant(axis, series, mine, theirs, colour)
            continue
        _published_line(axis, theirs, colour)
        if mine:
            x = [row["x"] for row in mine]
            for row in mine:
                axis.plot([row["x"]] * len(row["values"]), row["values"], ".", color=colour, markersize=3, alpha=0.6)
            y = np.array([row["ours"] for row in mine])
            half = np.array([row["ours_ci95"] or 0.0 for row in mine])
            axis.errorbar(x, y, half, color=colour, marker="o", markersize=5, capsize=3, linewidth=1.8, zorder=3)
    if chance is not None and panel.readouts != ["alignment"]:
        axis.axhline(chance, color="black", linestyle=":", linewidth=1)
        write_chance(axis, chance)
    axis.set(xlabel=panel.x_label, ylabel=_score(panel.readouts[0]))
    axis.spines[["top", "right"]].set_visible(False)
    _legend(figure, panel, rows)
    return figure


def _published_line(axis, rows, colour):
    if not rows:
        return
    x = [row["x"] for row in rows]
    y = np.array([row["published"] for row in rows])
    half = np.array([row["published_ci95"] or 0.0 for row in rows])
    if len(x) > 1:
        axis.fill_between(x, y - half, y + half, color=colour, alpha=0.12, linewidth=0)
    axis.errorbar(
        x, y, half if len(x) == 1 else None, color=colour, marker="D", markersize=4, markerfacecolor="white", linestyle="--",
        linewidth=1, capsize=2, alpha=0.8, zorder=2,
    )  # fmt: skip


def _constant(axis, series, mine, theirs, colour):
    for row in mine:
        axis.axhline(row["ours"], color=colour, linewidth=1.8)
        if row["ours_ci95"] is not None:
            axis.axhspan(row["ours"] - row["ours_ci95"], row["ours"] + row["ours_ci95"], color=colour, alpha=0.12, linewidth=0)
    for row in theirs:
        axis.axhline(row["published"], color=colour, linewidth=1, linestyle="--", alpha=0.8)


def _violins(panel, found, rows, heading, chance):
    figure = Figure(figsize=(1.2 + 3.6 * len(panel.readouts), 4.2), layout="constrained")
    figure.suptitle(heading, fontsize=9)
    for axis, readout in zip(figure.subplots(1, len(panel.readouts), squeeze=False)[0], panel.readouts):
        for k, series in enumerate(panel.series):
            colour = _colour(series)
            row = next((row for row in rows if row["series"] == series.name and row["readout"] == readout), None)
            if row is None:
                continue
            values = row["values"]
            if len(values) > 2 and np.ptp(values) > 0:
                body = axis.violinplot(values, [k - 0.12], widths=0.5, showextrema=False)["bodies"][0]
                body.set(facecolor=colour, alpha=0.4)
            if values:
                spread = np.linspace(-0.06, 0.06, len(values)) if len(values) > 1 else np.zeros(1)
                axis.plot(k - 0.12 + spread, values, ".", color="black", markersize=3, zorder=4)
                half = row["ours_ci95"]
                axis.errorbar(
                    k - 0.12, row["ours"], half, color=colour, marker="o", markersize=6, capsize=3, linewidth=1.8, zorder=3
                )
            if row["published"] is not None:
                half = row["published_ci95"]
                axis.errorbar(
                    k + 0.22, row["published"], half, color=colour, marker="D", markersize=6, markerfacecolor="white",
                    capsize=3, linewidth=1, zorder=3,
                )  # fmt: skip
        axis.set_xticks(
            range(len(panel.series)),
            [series.name for series in panel.series],
            rotation=20,
            ha="right",
            rotation_mode="anchor",
            fontsize=8,
        )
        axis.set_xlim(-0.6, len(panel.series) - 0.4)
        axis.set_title(READOUT_NAMES[readout], fontsize=9)
        axis.set_ylabel(_score(readout))
        axis.spines[["top", "right"]].set_visible(False)
        if chance is not None and readout != "alignment":
            axis.axhline(chance, color="black", linestyle=":", linewidth=1)
            write_chance(axis, chance)
    _legend(figure, panel, rows, series=False)
    return figure


def _matrices(panel, found, rows, heading, chance):
    from closer_tf.measures import CIFAR10_CLASS_ORDER

    names = list(CIFAR10_CLASS_ORDER)
    alphabetic = sorted(names)  # CIFAR-10's labels
    order = [alphabetic.index(name) for name in names]
    pictures = []
    for series in panel.series:
        mine = min((one for one in of_series(found, series) if one.matrices), key=lambda one: one.config.seed, default=None)
        ours = None if mine is None else np.array(mine.matrices[0])[np.ix_(order, order)]
        wanted = series.published
        entries = reference()["class_pseudo_likelihood"] if wanted else []
        theirs = next((entry for entry in entries if entry["condition"] == wanted.condition), None)
        pictures.append((series, mine, ours, theirs))
    figure = Figure(figsize=(1 + 3.2 * len(pictures), 6.8), layout="constrained")
    figure.suptitle(heading, fontsize=9)
    shown = [ours for _, _, ours, _ in pictures if ours is not None]
    shown += [np.array(theirs["matrix_rows_given_class"]) for *_, theirs in pictures if theirs is not None]
    largest = max((matrix.max() for matrix in shown), default=1.0)
    axes = figure.subplots(2, len(pictures), squeeze=False, sharex=True, sharey=True)
    image = None
    for column, (series, mine, ours, theirs) in enumerate(pictures):
        published = None if theirs is None else np.array(theirs["matrix_rows_given_class"])
        notes = (
            "no run yet" if mine is None else f"ours, seed {mine.config.seed}, {mine.epochs} epochs",
            "never published" if theirs is None else f"published, seed {theirs['seed']}",
        )
        for axis, matrix, note in zip(axes[:, column], (ours, published), notes):
            axis.set_title(f"{series.name} ({note})", fontsize=8)
            if matrix is not None:
                image = axis.imshow(matrix, cmap="viridis", vmin=0, vmax=largest)
            axis.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
            axis.set_yticks(range(len(names)), names, fontsize=7)
    if image is not None:
        figure.colorbar(image, ax=axes.ravel().tolist(), fraction=0.03, label="mean p(k | b)", format="%.4f")
    return figure


def _legend(figure, panel, rows, series=True):
    handles = []
    if series:
        handles = [Line2D([], [], color=_colour(each), linewidth=3, label=each.name) for each in panel.series]
    handles.append(OURS)
    if any(published_points(each, readout) for each in panel.series for readout in panel.readouts):
        handles.append(PUBLISHED)
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 7), frameon=False, fontsize=8)


def _colour(series):
    return colour_of(series.colour) if series.colour in CONDITIONS else series.colour


def _score(readout):
    return "alignment" if readout == "alignment" else "test accuracy"
