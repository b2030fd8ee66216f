"""Which published number a run's config corresponds to."""

import json
import math
from functools import cache
from importlib.resources import files

from closer_tf.analysis.published import epochs_of, published_series
from closer_tf.config.identity import flat, without_folders


@cache
def _settings():
    return json.loads((files("closer_tf") / "reference" / "published_settings.json").read_text(encoding="utf-8"))


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
    known = _settings()
    for entry in known["published"]:
        if (entry["condition"], entry["readout"]) != (condition, readout):
            continue
        needed = dict(entry["also"])
        for name in entry["needs"]:
            needed |= known["settings"][name]
        if not all(_same(settings.get(key), value) for key, value in needed.items()):
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
    found = {readout: published(settings, condition, readout, protocol) for readout in ("single", "ensemble")}
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
