"""What several pictures share: names of readouts, marks, axes, the chance level."""

import numpy as np

from closer_tf.common.values import last_part
from closer_tf.config.conditions import title_of

READOUT_TITLES = {"single": "single encoder", "ensemble": "ensemble"}


def side_by_side(count, reach):
    """Offsets of so many marks around a position."""
    return np.linspace(-reach, reach, count) if count > 1 else np.zeros(count)


def name_ticks(axis, names, every=1):
    """One tick per name, or per some names where there are many, the end of the name at its tick."""
    axis.set_xticks(range(0, len(names), every), names[::every], rotation=30, ha="right", rotation_mode="anchor")


def score_label(score):
    """The label of the axis of a score."""
    return f"test {score}".replace("^2", "²")


def write_chance(axis, chance):
    """The chance level, right of an axis, where nothing else is."""
    axis.text(1.02, chance, f"chance\n{chance:.3f}", transform=axis.get_yaxis_transform(), va="center", fontsize=8)


def variant(name):
    """'closer, key.path=value, ...' as a tick's label: a line each, keys by their last part."""
    condition, *differing = name.split(", ")
    return "\n".join([title_of(condition), *map(_short, differing)])


def _short(text):
    key, equals, value = text.partition("=")
    return f"{last_part(key)}={value}" if equals else text
