"""Ours beside the published numbers, row by row: as plain data, as Markdown, as CSV."""

import csv
import io

from closer_tf.analysis.statistics import estimate
from closer_tf.reproduction.panels import published_epochs, published_points
from closer_tf.reproduction.results import by_x

COLUMNS = (
    "series",
    "readout",
    "x",
    "ours",
    "ours_ci95",
    "ours_seeds",
    "ours_epochs",
    "published",
    "published_ci95",
    "published_seeds",
    "published_epochs",
    "difference",
    "joint_standard_error",
    "difference_in_joint_standard_errors",
)
SAME_X = 1e-4  # published densities are rounded


def rows_of(panel, found):
    """The rows of a panel's table: one per series, readout and x, of ours, of the published, or of both.

    Args:
        panel: `Panel`.
        found: list of `Found` of its sweep.

    Returns:
        List of dicts with the keys `COLUMNS`, and `seeds`, `values`, `ours_sd` and `runs` of ours. `joint_standard_error` is
        the root of the summed squared standard errors of both means; it is None, and with it the difference in its units,
        where ours has one seed alone.
    """
    rows = []
    for series in panel.series:
        for readout in [series.readout] if series.readout else panel.readouts:
            ours = by_x(found, panel, series, readout)
            published = published_points(series, readout)
            places = [*ours, *(point["x"] for point in published if not series.constant)]
            distinct = []
            for x in sorted(places, key=lambda x: (x is not None, x or 0)):
                if not any(_same(x, other) for other in distinct):
                    distinct.append(x)
            if series.constant and published and not distinct:
                distinct = [None]
            for x in distinct:
                theirs = [point for point in published if series.constant or _same(point["x"], x)]
                mine = next((runs for place, runs in ours.items() if _same(place, x)), {})
                rows.append(_row(series, readout, x, mine, theirs[0] if theirs else None))
    return rows


def _row(series, readout, x, ours, theirs):
    row = dict.fromkeys(COLUMNS) | {"series": series.name, "readout": readout, "x": x}
    row |= {"seeds": [], "values": [], "ours_sd": None, "runs": []}
    mean = None
    if ours:
        values = [one.values[readout] for one in ours.values()]
        mean = estimate(values)
        epochs = sorted({one.epochs for one in ours.values()})
        row |= {"ours": mean.mean, "ours_ci95": mean.ci95, "ours_seeds": mean.seeds, "ours_sd": mean.sd}
        row |= {"ours_epochs": epochs[0] if len(epochs) == 1 else f"{epochs[0]} to {epochs[-1]}"}
        row |= {"seeds": list(ours), "values": values, "runs": [one.run for one in ours.values()]}
    if theirs is not None:
        row |= {"published": theirs["mean"], "published_ci95": theirs["ci95"], "published_seeds": theirs["seeds"]}
        row["published_epochs"] = published_epochs(series)
    if mean is not None and theirs is not None:
        row["difference"] = mean.mean - theirs["mean"]
        if mean.sem is not None and theirs["sem"] is not None:
            row["joint_standard_error"] = (mean.sem**2 + theirs["sem"] ** 2) ** 0.5
            if row["joint_standard_error"] > 0:
                row["difference_in_joint_standard_errors"] = row["difference"] / row["joint_standard_error"]
    return row


def agreement(rows):
    """How many points lie within 2 joint standard errors of the published ones: about 95% of those that are the same.

    Args:
        rows: from `rows_of`, of one panel or of several.

    Returns:
        dict with `points` that can be compared (several seeds of ours, and published ones), `within_2`, `within_3` of them.
    """
    sizes = [abs(size) for row in rows if (size := row["difference_in_joint_standard_errors"]) is not None]
    return {"points": len(sizes), "within_2": sum(size <= 2 for size in sizes), "within_3": sum(size <= 3 for size in sizes)}


def to_markdown(rows, title, notes):
    """A table of rows in Markdown, with a title and notes."""
    names = ("series", "readout", "x", "ours", "seeds", "epochs", "published", "seeds", "epochs", "difference", "in joint SE")
    lines = [f"# {title}", "", *(f"{note}\n" for note in notes)]
    lines += ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for row in rows:
        cells = [
            row["series"],
            row["readout"],
            _number(row["x"], "g"),
            _with_interval(row["ours"], row["ours_ci95"]),
            _number(row["ours_seeds"], ""),
            _number(row["ours_epochs"], ""),
            _with_interval(row["published"], row["published_ci95"]),
            _number(row["published_seeds"], ""),
            _number(row["published_epochs"], ""),
            _number(row["difference"], "+.4f"),
            _number(row["difference_in_joint_standard_errors"], "+.1f"),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def to_csv(rows, columns=COLUMNS):
    """A table of rows (dicts) as CSV, with these of their keys as its columns."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _same(a, b):
    return a == b or (a is not None and b is not None and abs(a - b) < SAME_X)


def _number(value, form):
    return "" if value is None else format(value, form) if not isinstance(value, str) else value


def _with_interval(value, half_width):
    if value is None:
        return ""
    return f"{value:.4f}" + (f" +- {half_width:.4f}" if half_width is not None else "")
