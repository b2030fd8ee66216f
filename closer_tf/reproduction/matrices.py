"""Figure 2a: class mean pseudo-likelihoods beside the published ones, with how alike they are and over what range."""

import numpy as np

from closer_tf.analysis.published import reference
from closer_tf.plots.matrices import CIFAR10_CLASS_ORDER
from closer_tf.reproduction import table
from closer_tf.reproduction.results import of_series

COLUMNS = (
    "series",
    "seed",
    "epochs",
    "temperature",
    "correlation",
    "correlation_off_diagonal",
    "smallest",
    "largest",
    "published_seed",
    "published_smallest",
    "published_largest",
)


def matrices_of(panel, found):
    """The matrices of a panel, series by series.

    Args:
        panel: `Panel` of the form 'matrices'.
        found: list of `Found` of its sweep; of each series the smallest seed that has matrices counts.

    Returns:
        List of dicts with the keys `COLUMNS`, `classes` (names in the published order), and `ours` and `published`, lists
        (classes, classes) in that order, rows the given class, or None. `correlation` is Pearson's over all entries of both,
        `correlation_off_diagonal` over those of different classes; None where one is not there, or constant.
    """
    return [_compared(series, found) for series in panel.series]


def _compared(series, found):
    mine = min((one for one in of_series(found, series) if one.matrices), key=lambda one: one.config.seed, default=None)
    entries = reference()["class_pseudo_likelihood"] if series.published else []
    theirs = next((entry for entry in entries if entry["condition"] == series.published.condition), None)
    compared = dict.fromkeys(COLUMNS) | {"series": series.name, "classes": list(CIFAR10_CLASS_ORDER)}
    compared |= {"ours": None, "published": None}
    if mine is not None:
        ours = in_published_order(mine.matrices[0])
        compared |= {"seed": mine.config.seed, "epochs": mine.epochs, "temperature": mine.about.get("temperature")}
        compared |= {"smallest": float(ours.min()), "largest": float(ours.max()), "ours": ours.tolist()}
    if theirs is not None:
        published = np.array(theirs["matrix_rows_given_class"])
        compared |= {"published_seed": theirs["seed"], "published": published.tolist()}
        compared |= {"published_smallest": float(published.min()), "published_largest": float(published.max())}
    if mine is not None and theirs is not None:
        apart = ~np.eye(len(ours), dtype=bool)
        compared["correlation"] = correlation(ours, published)
        compared["correlation_off_diagonal"] = correlation(ours[apart], published[apart])
    return compared


def in_published_order(matrix):
    """A matrix over CIFAR-10's labels, which are alphabetic, as an array in the order of the published figure."""
    alphabetic = sorted(CIFAR10_CLASS_ORDER)
    order = [alphabetic.index(name) for name in CIFAR10_CLASS_ORDER]
    return np.array(matrix, dtype=np.float64)[np.ix_(order, order)]


def correlation(first, second):
    """Pearson's correlation of the entries of two arrays, or None where one of them does not vary."""
    if min(np.ptp(first), np.ptp(second)) == 0:
        return None
    return float(np.corrcoef(np.ravel(first), np.ravel(second))[0, 1])


def to_markdown(matrices, title, notes):
    """A table of the matrices' correlations and ranges in Markdown, with a title and notes."""
    names = ("series", "seed", "epochs", "tau", "correlation", "off the diagonal", "ours, range", "published, range")
    lines = [f"# {title}", "", *(f"{note}\n" for note in notes)]
    lines += ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for one in matrices:
        cells = [one["series"], *(_text(one[key], "g") for key in ("seed", "epochs", "temperature"))]
        cells += [_text(one[key], ".2f") for key in ("correlation", "correlation_off_diagonal")]
        cells += [_range(one["smallest"], one["largest"]), _range(one["published_smallest"], one["published_largest"])]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def to_csv(matrices):
    """The same table as CSV."""
    return table.to_csv(matrices, COLUMNS)


def _text(value, form):
    return "" if value is None else format(value, form)


def _range(smallest, largest):
    return "" if smallest is None else f"{smallest:.4f} to {largest:.4f}"
