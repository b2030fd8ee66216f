"""What a panel's picture shows, as plain data for `closer_tf.plots.panels`, which draws."""

import numpy as np

from closer_tf.common.values import counted
from closer_tf.config.conditions import CONDITIONS, colour_of
from closer_tf.plots.matrices import CIFAR10_CLASS_ORDER
from closer_tf.plots.panels import plot_panel_lines, plot_panel_matrices, plot_panel_violins
from closer_tf.reproduction.matrices import matrices_of
from closer_tf.reproduction.panels import published_points

FEWEST_FOR_AN_INTERVAL = 3  # seeds
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
    return {"x": row["x"], "mean": row[whose], "half": _interval(row) if whose == "ours" else row["published_ci95"]}


def _interval(row):
    """Half of our interval, from three seeds on: of two it is 12.7 standard errors long and hides what is there."""
    return row["ours_ci95"] if (row["ours_seeds"] or 0) >= FEWEST_FOR_AN_INTERVAL else None


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
    own = {"colour": _colour(series), "values": row["values"], "mean": row["ours"], "half": _interval(row)}
    return {**own, "published": row["published"], "published_half": row["published_ci95"]}


def _matrices(panel, found, heading):
    columns = []
    for one in matrices_of(panel, found):
        ours, published = "no run yet", "never published"
        if one["ours"] is not None:
            tau = "" if one["temperature"] is None else f", τ = {one['temperature']:.4g}"
            ours = f"ours, seed {one['seed']}, {counted(one['epochs'])}{tau}\n{one['smallest']:.4f} to {one['largest']:.4f}"
            if one["correlation"] is not None:
                ours += f", correlation {one['correlation']:.2f}"
        if one["published"] is not None:
            published = f"published, seed {one['published_seed']}"
            published += f"\n{one['published_smallest']:.4f} to {one['published_largest']:.4f}"
        matrices = {key: None if one[key] is None else np.array(one[key]) for key in ("ours", "published")}
        columns.append({**matrices, "titles": [f"{one['series']}: {note}" for note in (ours, published)]})
    return plot_panel_matrices(columns, list(CIFAR10_CLASS_ORDER), heading)


def _has_published(panel):
    return any(published_points(series, readout) for series in panel.series for readout in panel.readouts)


def _colour(series):
    return colour_of(series.colour) if series.colour in CONDITIONS else series.colour


def _score(readout):
    return "alignment" if readout == "alignment" else "test accuracy"
