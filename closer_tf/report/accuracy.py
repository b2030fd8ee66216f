"""Mean accuracies over seeds, their confidence intervals, and the published values beside them."""

from closer_tf.analysis.published import published_values
from closer_tf.analysis.statistics import estimate
from closer_tf.config.conditions import colour_of, in_order, title_of
from closer_tf.report.reading import one_per_seed
from closer_tf.results import each_encoder


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
    found = {condition for run in group.runs if run.results for condition in run.results.accuracy}
    return in_order(found)


def _row(group, condition):
    runs = [run for run in one_per_seed(group) if run.results and condition in run.results.accuracy]
    found = [run.results.accuracy[condition] for run in runs]
    per_encoder = [each_encoder(readouts) for readouts in found]
    return {**_summary(group, condition, runs, found), "per_encoder": per_encoder}


def epochs_rows(groups):
    """Accuracy over epochs: one row per group and epoch of those that were read out at single epochs.

    Args:
        groups: list of `Group`.

    Returns:
        List of dicts as from `accuracy_rows`, of the groups' own condition, with `epochs` (int) and without `per_encoder`;
        those of one group follow each other, in ascending order.
    """
    rows = []
    for group in groups:
        over = [(run, run.results.over_epochs()) for run in one_per_seed(group) if run.results and run.results.at_epochs]
        for epoch in sorted({epoch for _, found in over for epoch in found}):
            having = [(run, found[epoch]) for run, found in over if epoch in found]
            row = _summary(group, group.config.condition, *map(list, zip(*having)))
            rows.append({**row, "epochs": epoch})
    return rows


def _summary(group, condition, runs, found):
    """What several runs found of one condition: `found` has a dict readout -> `Score` of each."""
    by_readout, first = {}, runs[0]
    for readouts in found:
        for readout, score in readouts.items():
            by_readout.setdefault(readout, []).append(score.test)
    reference = published_values(group.config, condition, first.results.protocol.to_dict())
    return {
        "group": group,
        "condition": condition,
        "name": title_of(condition),
        "colour": colour_of(condition),
        "score": first.score,
        "chance": first.results.chance_level,
        "simulated": first.results.simulated,
        "readouts": {name: _mean(values, reference.get(name)) for name, values in by_readout.items()},
        "runs": [run.name for run in runs],
        "encoders": list(first.encoders),
    }


def _mean(values, reference):
    found = estimate(values)
    half = found.ci95 if len(values) > 2 else None
    return {"mean": found.mean, "half": half, "values": values, "seeds": len(values), "published": reference}
