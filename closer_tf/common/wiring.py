"""What a Keras model computes, as plain data: by it, models that differ in their weights alone are told from others.

A functional model consists of operations, layers and those of `keras.ops` alike, of which each takes what others give.
"""

import contextlib
from types import FunctionType, MethodType

CHANCE = ("seed", "initializer")
"""How keys of a config end that say what weights begin with."""
ASIDE = ("registered_name", "module", "build_config", "compile_config")
"""Keys of a serialised object that say where its class is found and how it was used."""
KNOWN = ("keras", "closer_tf")
POINTERS = ("keras_history", "input_layers", "output_layers")
"""Keys of a functional model's config under which operations are named."""


def described(model):
    """Plain data that is equal for models which compute the same where their weights are the same.

    Functions, and what a class of one's own does beyond its config, are known by their names alone: see `is_of_known_parts`.

    Args:
        model: built Keras model.

    Returns:
        List of, for the model and each layer within it, the class and the config as from `config_of`; and of its variables'
        shapes, kinds of numbers, and whether they are trained.
    """
    layers = [[type(layer).__name__, config_of(layer)] for layer in model._flatten_layers()]
    return [layers, [[list(weight.shape), str(weight.dtype), bool(weight.trainable)] for weight in model.variables]]


def config_of(thing):
    """The config of a Keras object as plain data, without names and without what weights begin with, operations told by their
    place in it; None where it gives none that could be saved.

    Args:
        thing: layer, model, objective or optimizer.
    """
    from keras import saving

    try:
        return without_chance(saving.serialize_keras_object(thing)["config"])
    except Exception:  # of anybody's get_config
        return None


def is_of_known_parts(model):
    """Whether a model consists of operations and functions of Keras and of this package alone, so that its config holds all
    that it computes. A class or function of one's own may do more than its name and arguments say; so may layers that are
    adapted to data, whose config has nothing of it.

    Args:
        model: built Keras model.
    """
    config = config_of(model)
    if config is None or _holds_functions(config):
        return False
    return all(
        _is_known(part, part) and not hasattr(part, "adapt") and all(_is_known(value, part) for value in _called(part))
        for part in _parts(model)
    )


def _holds_functions(config):
    """Whether a function that is not this package's is among the arguments in a config."""
    if isinstance(config, dict):
        own = config.get("class_name") == "function" and str(config.get("config")).startswith("closer_tf>")
        found = config.get("class_name") in ("function", "__lambda__") and not own
        return found or any(map(_holds_functions, config.values()))
    return isinstance(config, list) and any(map(_holds_functions, config))


def _parts(model):
    """A model, layer or operation, and all those within it."""
    from keras import Model

    inner = getattr(model, "operations", None) if isinstance(model, Model) else None
    if inner is None:
        inner = model._flatten_layers(include_self=False, recursive=False) if hasattr(model, "_flatten_layers") else ()
    return [model, *(part for each in inner for part in _parts(each))]


def _called(part):
    """The functions, and objects that compute something, that an operation keeps; not those by which weights begin."""
    kept = (value for name, value in vars(part).items() if not name.endswith(CHANCE))
    return [value for value in kept if callable(value) or hasattr(value, "call")]


def _is_known(value, part):
    """Whether a function, class or object that a part keeps is Keras's or this package's, and its name says what it does."""
    if isinstance(value, MethodType):
        return value.__self__ is part and _is_known(value.__func__, part)
    if isinstance(value, FunctionType):
        return _is_ours(value.__globals__["__name__"]) and all(_is_known(each, part) for each in _closed_over(value))
    return _is_ours(getattr(value, "__module__", None))


def _is_ours(module):
    return str(module).split(".")[0] in KNOWN


def _closed_over(function):
    """What a function calls of where it was made, such as what a decorator is around."""
    found = []
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # empty
            found.append(cell.cell_contents)
    return [value for value in found if callable(value)]


def without_chance(value, places=None):
    """A config, or part of one, without names and the keys of `CHANCE`, at any depth.

    Args:
        value: plain data.
        places: dict from the names of the operations around it to their places.
    """
    if isinstance(value, dict):
        if str(value.get("class_name")).endswith("DTypePolicy"):
            return value["config"]  # of which the name is all
        places = _places(value) or places
        apart = ("name", *ASIDE) if "class_name" in value and "config" in value else ("name",)
        kept = (key for key in value if key not in apart and not str(key).endswith(CHANCE))
        return {str(key): (_by_place if key in POINTERS else without_chance)(value[key], places) for key in kept}
    return [without_chance(inner, places) for inner in value] if isinstance(value, (list, tuple)) else value


def _places(config):
    """The places of a model's operations by their names; None for what is no model's config."""
    layers = config.get("layers")
    if not isinstance(layers, list) or not all(isinstance(layer, dict) for layer in layers):
        return None
    return {layer.get("name", k): k for k, layer in enumerate(layers)}


def _by_place(value, places):
    """Plain data with operations' places instead of their names."""
    if isinstance(value, dict):
        return {key: _by_place(inner, places) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_by_place(inner, places) for inner in value]
    return (places or {}).get(value, value) if isinstance(value, str) else value
