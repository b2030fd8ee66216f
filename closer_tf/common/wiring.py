"""What a Keras model computes, as plain data: by it, models that differ in their weights alone are told from others.

A functional model consists of operations, layers and those of `keras.ops` alike, of which each takes what others give.
"""

CHANCE = ("seed", "initializer")
"""How keys of a config end that say what weights begin with."""
ORIGINS = ("registered_name", "module")
"""Keys of a serialised object that say where its class is found."""
KNOWN = ("keras", "closer_tf")
POINTERS = ("keras_history", "input_layers", "output_layers")
"""Keys of a functional model's config under which operations are named."""


def described(model):
    """Plain data that is equal for models which compute the same where their weights are the same.

    Functions, and what a class of one's own does beyond its config, are known by their names alone: see `is_of_known_parts`.

    Args:
        model: built Keras model.

    Returns:
        List of the shapes of its variables and, for the model and each layer within it, the class and the config without names
        and without what weights begin with, operations told by their place in it; None for a config that a layer does not give.

    Raises:
        NotImplementedError, TypeError, ValueError: the model itself gives no config.
    """
    within = [[type(layer).__name__, _config(layer)] for layer in model._flatten_layers(include_self=False)]
    shapes = [list(weight.shape) for weight in model.variables]
    return [type(model).__name__, without_chance(model.get_config()), within, shapes]


def _config(layer):
    try:
        return without_chance(layer.get_config())
    except (NotImplementedError, TypeError, ValueError):
        return None


def is_of_known_parts(model):
    """Whether a model consists of operations and functions of Keras and of this package alone, so that its config holds all
    that it computes. A class or function of one's own may do more than its name and arguments say.

    Args:
        model: built Keras model.
    """
    return all(_is_known(value) for part in _parts(model) for value in (part, *_called(part)))


def _parts(model):
    """A model, layer or operation, and all those within it."""
    inner = getattr(model, "operations", None)
    if inner is None:
        inner = model._flatten_layers(include_self=False, recursive=False) if hasattr(model, "_flatten_layers") else ()
    return [model, *(part for each in inner for part in _parts(each))]


def _called(part):
    """The functions, and objects that compute something, that an operation keeps."""
    return [value for value in vars(part).values() if callable(value) or hasattr(value, "call")]


def _is_known(value):
    """Whether a function, class or object is of a module of Keras or of this package."""
    return str(getattr(value, "__module__", None)).split(".")[0] in KNOWN


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
        apart = ("name", *ORIGINS) if "class_name" in value and "config" in value else ("name",)
        kept = (key for key in value if key not in apart and not str(key).endswith(CHANCE))
        return {key: _by_place(value[key], places) if key in POINTERS else without_chance(value[key], places) for key in kept}
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
