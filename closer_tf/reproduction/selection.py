"""Which of a panel's points are run: those of some conditions (`--conditions`), and those with some settings (`--only`)."""

import json

from closer_tf.config import suggestion
from closer_tf.config.conditions import CONDITIONS
from closer_tf.config.identity import flat
from closer_tf.errors import ConfigError


def selected(points, conditions=None, only=()):
    """The points that are asked for.

    Args:
        points: list of `Point`.
        conditions: the text of `--conditions`, names with commas between them, or None: all.
        only: texts of `--only`, each 'key=value,value'; a point has to have one of the values of each key.

    Returns:
        List of `Point`.

    Raises:
        ConfigError: a condition or key does not exist, or a value is that of no point; the message names those that are.
    """
    if conditions is not None:
        names = conditions_of(conditions)
        points = [point for point in points if point.config.condition in names]
    settings = [dict(flat(point.config.to_dict())) for point in points]
    for text in only:
        key, wanted = _parsed(text)
        _check(text, key, wanted, settings)
        points = [point for point, own in zip(points, settings) if own.get(key) in wanted]
        settings = [own for own in settings if own.get(key) in wanted]
    return points


def conditions_of(text):
    """The names of conditions that a text gives with commas between them.

    Raises:
        ConfigError: there is no such condition.
    """
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in CONDITIONS:
            hint = suggestion(name, list(CONDITIONS))
            raise ConfigError(f"--conditions: expected some of {', '.join(CONDITIONS)}, found '{name}'.{hint}")
    return names


def _parsed(text):
    """'masks.fraction=0.1,0.25' as ('masks.fraction', [0.1, 0.25])."""
    key, equals, values = text.partition("=")
    if not equals or not key.strip() or not values.strip():
        raise ConfigError(f"--only {text}: expected KEY=VALUES, such as masks.fraction=0.1,0.25")
    return key.strip(), [_value(part.strip()) for part in values.split(",")]


def _value(text):
    try:
        return json.loads(text)
    except ValueError:
        return text  # 'ring' without quotation marks is itself


def _check(text, key, wanted, settings):
    known = {name for own in settings for name in own}
    if settings and key not in known:
        hint = suggestion(key, sorted(known))
        raise ConfigError(f"--only {text}: no point of these panels has the key {key}; expected a run config's, dotted.{hint}")
    there = {json.dumps(own[key]): own[key] for own in settings if key in own}
    for value in wanted:
        if settings and value not in there.values():
            shown = ", ".join(sorted(there, key=_numbers_first))
            raise ConfigError(f"--only {text}: no point of these panels has {key} {json.dumps(value)}; there are {shown}")


def _numbers_first(shown):
    value = json.loads(shown)
    return (not isinstance(value, (int, float)), value if isinstance(value, (int, float)) else 0, shown)
