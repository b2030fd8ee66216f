"""What a Keras model computes, as plain data: by it, models that differ in their weights alone are told from others.

A functional model consists of operations, layers and those of `keras.ops` alike, of which each takes what others give.
"""

CHANCE = ("seed", "initializer")
"""How keys of a config end that say what weights begin with."""
NAMES = ("name", "registered_name", "module")
POINTERS = ("keras_history", "input_layers", "output_layers")
"""Keys of a functional model's config under which operations are named."""


def described(model):
    """Plain data that is equal for models which compute the same where their weights are the same.

    Args:
        model: built Keras model that has a config: functional, sequential, or another that gives one.

    Returns:
        List of the model's class, its config without names and without what weights begin with, operations told by their place
        in it, and the shapes of its variables.

    Raises:
        NotImplementedError: a layer within it gives no config.
    """
    return [type(model).__name__, without_chance(model.get_config()), [list(weight.shape) for weight in model.variables]]


def is_of_operations(model):
    """Whether a model is functional or sequential, so that its config holds all that it computes; a subclass may do more."""
    return type(model).__name__ in ("Functional", "Sequential") and type(model).__module__.startswith("keras.")


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
        kept = (key for key in value if key not in NAMES and not str(key).endswith(CHANCE))
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
