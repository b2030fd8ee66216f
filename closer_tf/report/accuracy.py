"""Mean accuracies over seeds, their confidence intervals, and the published values beside them."""

from closer_tf.plots import CONDITION_COLOURS, CONDITION_NAMES
from closer_tf.report.published import published
from closer_tf.report.reading import one_per_seed
from closer_tf.statistics import estimate
from closer_tf.summary import flat, without_folders


def accuracy_rows(groups):
    """One row per group and condition.

    Args:
        groups: list of `Group`.

    Returns:
        List of dicts: `group`, `condition` (its key), `name`, `colour`, `score`, `chance` (None where labels are numbers),
        `simulated`, `readouts` (dict readout -> `mean`, `half`, `values`, `seeds`, `published`), `runs` (their names),
        `encoders` (their names) and `per_encoder` (one list of test accuracies per run). `half`, of the interval, is None
        below three seeds: with two it is 12.7 standard errors and says nothing.
    """
    return [_row(group, condition) for group in groups for condition in _conditions(group)]


def _conditions(group):
    """The conditions that were read out, in the order of the pictures, unknown ones last."""
    found = {condition for run in group.runs for condition in run.results.get("accuracy", {})}
    order = list(CONDITION_NAMES)
    return sorted(found, key=lambda name: (order.index(name) if name in order else len(order), name))


def _row(group, condition):
    runs = [run for run in one_per_seed(group) if condition in run.results.get("accuracy", {})]
    readouts, first = {}, runs[0]
    for run in runs:
        for readout, found in run.results["accuracy"][condition].items():
            readouts.setdefault(readout, []).append(found["test"])
    return {
        "group": group,
        "condition": condition,
        "name": CONDITION_NAMES.get(condition, condition),
        "colour": CONDITION_COLOURS.get(condition, "#7f7f7f"),
        "score": first.score,
        "chance": None if first.score == "R^2" else first.results["chance"],
        "simulated": first.results["simulated"],
        "readouts": {name: _summary(values, group, condition, name, first) for name, values in readouts.items()},
        "runs": [run.name for run in runs],
        "encoders": list(first.encoders),
        "per_encoder": [run.results["accuracy"][condition].get("single", {}).get("per_encoder", []) for run in runs],
    }


def _summary(values, group, condition, readout, run):
    settings = dict(flat(without_folders(group.config.to_dict())))
    found = estimate(values)
    return {
        "mean": found.mean,
        "half": found.ci95 if len(values) > 2 else None,
        "values": values,
        "seeds": len(values),
        "published": published(settings, condition, readout, run.results["protocol"]),
    }
