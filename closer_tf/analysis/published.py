"""The published numbers, as the files in `closer_tf/reference` hold them, and which of them a run's config corresponds to."""

import functools
import json
import math
from importlib.resources import files

from closer_tf.config.conditions import CONDITIONS, is_trained
from closer_tf.config.identity import flat, result_of, without_folders

SAID_BESIDE = ("training.epochs", "readout.protocol", "readout.max_iter", "readout.knn_neighbours")
"""Keys in which a run may differ from the published one: where a number is shown, its epochs and protocol are, too."""


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


@functools.cache
def _settings():
    return json.loads((files("closer_tf") / "reference" / "published_settings.json").read_text(encoding="utf-8"))


def published(settings, condition, readout, protocol, changed=()):
    """The published test accuracy of a setting, or None.

    Args:
        settings: dict key.path -> value of the resolved config, files by their bare names.
        condition: what was read out, such as 'closer' or 'untrained'.
        readout: 'single' or 'ensemble'.
        protocol: the readout's protocol, as in results.json; only the published one corresponds to a published number.
        changed: the keys not at their defaults that the result follows from; a published point names all of them.

    Returns:
        dict with `mean`, `ci95` (half width, or None), `seeds`, `figure`, and `epochs` (None where nothing was trained).
    """
    if protocol.get("name") != "published" or protocol.get("max_iter") != 100:
        return None
    known = _settings()
    for entry in known["published"]:
        if (entry["condition"], entry["readout"]) != (condition, readout):
            continue
        needed = dict(entry["also"])
        for name in entry["needs"]:
            needed |= known["settings"][name]
        if not all(_same(settings.get(key), value) for key, value in needed.items()):
            continue
        if not {*needed, entry.get("x_key"), *SAID_BESIDE}.issuperset(changed):
            continue
        ours = entry.get("x", [None])
        for x, theirs in zip(ours, entry.get("published_x", ours)):
            if x is None or _same(settings.get(entry["x_key"]), x):
                return _point(entry, theirs)
    return None


def published_values(config, condition, protocol):
    """The published test accuracies of a run.

    Args:
        config: its resolved `RunConfig`.
        condition, protocol: as for `published`.

    Returns:
        dict readout ('single', 'ensemble') -> dict as from `published`, where there is one.
    """
    settings = dict(flat(without_folders(config.to_dict())))
    followed = {key for key, _ in result_of(condition, config)}
    changed = followed.intersection(key for key, _ in flat(config.model_dump(mode="json", exclude_defaults=True)))
    if config.objective.push is not None and not config.objective.push.weight:  # pushes nothing
        changed = {key for key in changed if not key.startswith("objective.push.")}
    found = {readout: published(settings, condition, readout, protocol, changed) for readout in ("single", "ensemble")}
    return {readout: value for readout, value in found.items() if value is not None}


def _point(entry, x):
    points = published_series(entry["figure"], entry["series"], entry["readout"], entry.get("masking"))
    point = next(point for point in points if point["x"] == x)
    found = {key: point[key] for key in ("mean", "ci95", "seeds")}
    return {**found, "figure": entry["figure"], "epochs": epochs_of(entry["figure"], entry["condition"])}


def _same(found, expected):
    if isinstance(expected, bool) or not isinstance(expected, (int, float)):
        return found == expected
    return isinstance(found, (int, float)) and math.isclose(found, expected, rel_tol=1e-6)
