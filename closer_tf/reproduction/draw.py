"""What a panel's picture shows, as plain data for `closer_tf.plots.panels`, which draws."""

import numpy as np

from closer_tf.analysis.published import reference
from closer_tf.config.conditions import CONDITIONS, colour_of
from closer_tf.plots.panels import plot_panel_lines, plot_panel_matrices, plot_panel_violins
from closer_tf.reproduction.panels import published_points
from closer_tf.reproduction.results import of_series

READOUT_NAMES = {"single": "single encoder", "ensemble": "ensemble", "alignment": "alignment of embedding maps"}


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
    if panel.form == "matrices":
        return _matrices(panel, found, heading)
    return {"lines": _lines, "violins": _violins}[panel.form](panel, rows, heading, chance)


def _lines(panel, rows, heading, chance):
    series = []
    for one in panel.series:
        of_one = [row for row in rows if row["series"] == one.name]
        ours = [_point(row, "ours") | {"values": row["values"]} for row in of_one if row["ours"] is not None]
        theirs = [_point(row, "published") for row in of_one if row["published"] is not None]
        about = {"name": one.name, "colour": _colour(one), "constant": one.constant}
        series.append({**about, "ours": ours, "published": theirs})
    only_alignment = panel.readouts == ["alignment"]
    return plot_panel_lines(
        series,
        heading,
        panel.x_label,
        _score(panel.readouts[0]),
        chance=None if only_alignment else chance,
        has_published=_has_published(panel),
    )


def _point(row, whose):
    return {"x": row["x"], "mean": row[whose], "half": row[f"{whose}_ci95"]}


def _violins(panel, rows, heading, chance):
    columns = []
    for readout in panel.readouts:
        by_name = {row["series"]: row for row in reversed(rows) if row["readout"] == readout}
        columns.append(
            {
                "title": READOUT_NAMES[readout],
                "y_label": _score(readout),
                "chance": None if readout == "alignment" else chance,
                "series": [_distribution(one, by_name.get(one.name)) for one in panel.series],
            }
        )
    return plot_panel_violins(columns, [one.name for one in panel.series], heading, _has_published(panel))


def _distribution(series, row):
    """What is drawn of a series, from its first row; None without one."""
    if row is None:
        return None
    own = {"colour": _colour(series), "values": row["values"], "mean": row["ours"], "half": row["ours_ci95"]}
    return {**own, "published": row["published"], "published_half": row["published_ci95"]}


def _matrices(panel, found, heading):
    from closer_tf.plots import CIFAR10_CLASS_ORDER

    names = list(CIFAR10_CLASS_ORDER)
    alphabetic = sorted(names)  # CIFAR-10's labels
    order = [alphabetic.index(name) for name in names]
    columns = []
    for series in panel.series:
        mine = min((one for one in of_series(found, series) if one.matrices), key=lambda one: one.config.seed, default=None)
        wanted = series.published
        entries = reference()["class_pseudo_likelihood"] if wanted else []
        theirs = next((entry for entry in entries if entry["condition"] == wanted.condition), None)
        notes = (
            "no run yet" if mine is None else f"ours, seed {mine.config.seed}, {mine.epochs} epochs",
            "never published" if theirs is None else f"published, seed {theirs['seed']}",
        )
        columns.append(
            {
                "ours": None if mine is None else np.array(mine.matrices[0])[np.ix_(order, order)],
                "published": None if theirs is None else np.array(theirs["matrix_rows_given_class"]),
                "titles": [f"{series.name} ({note})" for note in notes],
            }
        )
    return plot_panel_matrices(columns, names, heading)


def _has_published(panel):
    return any(published_points(series, readout) for series in panel.series for readout in panel.readouts)


def _colour(series):
    return colour_of(series.colour) if series.colour in CONDITIONS else series.colour


def _score(readout):
    return "alignment" if readout == "alignment" else "test accuracy"
