"""The published numbers, as `closer_tf/reference/paper_results.json` holds them; panels and reports show them beside ours."""

import functools
import json
from importlib.resources import files

from closer_tf.config.conditions import CONDITIONS, is_trained


@functools.cache
def reference():
    """The content of the file: `source`, `entries`, `significance`, `class_pseudo_likelihood`."""
    return json.loads((files("closer_tf") / "reference" / "paper_results.json").read_text(encoding="utf-8"))


def published_series(figure, condition, readout, masking=None):
    """The points of one published series.

    Args:
        figure: the paper's panel, such as '3b'.
        condition: the series as the file names it, such as 'closer' or 'bidirectional_ring'.
        readout: 'single' or 'ensemble'.
        masking: its masks, where a panel shows several.

    Returns:
        List of dicts with `x` (None where there is no axis), `mean`, `ci95` (half width), `sem` and `seeds`; empty where
        nothing was published.
    """
    for entry in reference()["entries"]:
        same = (entry["figure"], entry["condition"], entry["readout"]) == (figure, condition, readout)
        if same and masking in (None, entry["masking"]):
            break
    else:
        return []
    columns = [entry.get(key) for key in ("x", "accuracy_mean", "ci95_half_width", "sem")]
    if columns[0] is None:
        columns = [[value] for value in columns]
    columns = [column if column is not None else [None] * len(columns[1]) for column in columns]
    return [
        {"x": x, "mean": mean, "ci95": ci95, "sem": sem, "seeds": entry.get("n_seeds")} for x, mean, ci95, sem in zip(*columns)
    ]


def epochs_of(figure, condition):
    """Epochs of the published trainings of a condition in a panel, or None: nothing is trained."""
    if condition in CONDITIONS and not is_trained(condition):  # series such as 'star' are trained, and no condition's name
        return None
    return 300 if figure.startswith("8") else 2000 if figure.startswith("5") else 1000
