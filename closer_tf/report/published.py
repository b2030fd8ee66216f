"""The published accuracies, and which of them a run's config corresponds to."""

import json
import math
from functools import cache
from importlib.resources import files


@cache
def _reference():
    return json.loads((files("closer_tf") / "reference" / "published_accuracy.json").read_text(encoding="utf-8"))


def source():
    """Where the numbers come from, in a sentence or two."""
    return _reference()["source"]


def published(settings, condition, readout, protocol):
    """The published test accuracy of a setting, or None.

    Args:
        settings: dict key.path -> value of the resolved config, files by their bare names.
        condition: what was read out, such as 'closer' or 'untrained'.
        readout: 'single' or 'ensemble'.
        protocol: the readout's protocol, as in results.json; only the published one corresponds to a published number.

    Returns:
        dict with `mean`, `ci95` (half width, or None), `seeds`, `figure`, and `epochs` (None where nothing was trained).
    """
    if protocol.get("name") != "published" or protocol.get("max_iter") != 100:
        return None
    reference = _reference()
    for entry in reference["published"]:
        if (entry["condition"], entry["readout"]) != (condition, readout):
            continue
        needed = dict(entry["also"])
        for name in entry["needs"]:
            needed |= reference["settings"][name]
        if not all(_same(settings.get(key), value) for key, value in needed.items()):
            continue
        points = entry.get("x", [None])
        for k, x in enumerate(points):
            if x is None or _same(settings.get(entry["x_key"]), x):
                found = {key: entry[key] for key in ("seeds", "figure")}
                return {**found, "mean": entry["mean"][k], "ci95": entry["ci95"][k], "epochs": entry.get("epochs")}
    return None


def _same(found, expected):
    if isinstance(expected, bool) or not isinstance(expected, (int, float)):
        return found == expected
    return isinstance(found, (int, float)) and math.isclose(found, expected, rel_tol=1e-6)
