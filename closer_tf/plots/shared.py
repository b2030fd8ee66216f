"""What several pictures share: names of readouts, marks, axes, the chance level."""

import re

import numpy as np

from closer_tf.common.values import last_part
from closer_tf.config.conditions import title_of

READOUT_TITLES = {"single": "single encoder", "ensemble": "ensemble"}


def side_by_side(count, reach):
    """Offsets of so many marks around a position."""
    return np.linspace(-reach, reach, count) if count > 1 else np.zeros(count)


def in_short(names, most=12):
    """Names for a picture: of long ones the beginning and the end, which tell 'area, layer 1' from 'area, layer 2'."""
    end = (most - 1) // 2
    return [name if len(name) <= most else f"{name[: most - 1 - end]}…{name[-end:]}" for name in map(str, names)]


def name_ticks(axis, names, every=1, turned=30):
    """One tick per name, or per some names where there are many, the end of the name at its tick."""
    axis.set_xticks(
        range(0, len(names), every),
        names[::every],
        rotation=turned,
        ha="right",
        va="center" if turned == 90 else "top",
        rotation_mode="anchor",
    )


def score_label(score):
    """The label of the axis of a score."""
    return f"test {score}".replace("^2", "²")


def write_chance(axis, chance):
    """The chance level, right of an axis, where nothing else is."""
    axis.text(1.02, chance, f"chance\n{chance:.3f}", transform=axis.get_yaxis_transform(), va="center", fontsize=8)


def labels_of(names):
    """Labels of conditions 'closer, key.path=value, ...': the title, and of as few keys as tell it from the others.

    A key is taken when it parts most of the names that the keys before it leave together, of equal ones one whose values are
    words; it is shown where it varies within a condition, by its last part. What is off (False, None) is not shown.

    Args:
        names: list of str, as `closer_tf.summary` makes them.

    Returns:
        List of str.
    """
    conditions, keys = zip(*(_taken_apart(name) for name in names)) if names else ((), ())
    known = list(dict.fromkeys(key for of_name in keys for key in of_name))
    in_words = [key for key in known if all(_is_word(of_name[key]) for of_name in keys if key in of_name)]
    chosen = []
    while known:
        parts = {key: _different(conditions, keys, [*chosen, key]) for key in [*in_words, *known]}
        best = max(parts, key=parts.get)
        if parts[best] == _different(conditions, keys, chosen):
            break
        chosen.append(best)
    for off in (("None", "False"), ()):  # what is off is shown where names would be the same without it
        said = []
        for condition, own in zip(conditions, keys):
            shown = [key for key in chosen if key in own and own[key] not in off and _varies(key, condition, conditions, keys)]
            said.append(", ".join([title_of(condition), *(_short(key, own[key]) for key in shown)]))
        if len(set(said)) == len(said):
            break
    return said


def _taken_apart(name):
    condition, *pairs = re.split(r", (?=[\w.]+=)", name)
    return condition, dict(pair.split("=", 1) for pair in pairs)


def _different(conditions, keys, chosen):
    return len({(condition, *(own.get(key) for key in chosen)) for condition, own in zip(conditions, keys)})


def _varies(key, condition, conditions, keys):
    """Whether a key varies among the names of a condition."""
    return len({own.get(key) for name, own in zip(conditions, keys) if name == condition}) > 1


def _short(key, value):
    name = key.removeprefix("objective.") if key.startswith("objective.push.") else last_part(key)  # 'push.weight'
    if value == "True":
        return name
    return f"{name}={float(value):g}" if _is_number(value) else f"{name}={value}"


def _is_word(value):
    return value not in ("None", "True", "False") and not _is_number(value)


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True
