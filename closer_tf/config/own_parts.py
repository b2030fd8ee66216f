"""Parts of one's own that run configs can name: objectives, encoders, masks, graphs and sources that a module has registered.

A config only names them, beside the built-in ones: it imports nothing. The module is imported by whoever runs the command, who
gives it as `--plugin MODULE`, or by whoever calls from Python.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from closer_tf.config.conditions import CONDITIONS, Condition

Made = TypeVar("Made", bound=Callable[..., Any])

REGISTERED: dict[str, dict[str, Callable[..., Any]]] = {
    kind: {} for kind in ("objective", "encoder", "mask", "graph", "source")
}
"""kind -> name -> the function or class that makes one"""

OBJECTIVE_KEYS = ("temperature", "graph", "stop_gradient")
"""The keys of a config's `objective` that an objective of one's own has if it takes an argument of that name."""

HINT = "One of your own is registered by a module that the command line gives as --plugin MODULE"


def register_encoder(name: str) -> Callable[[Made], Made]:
    """Decorator of a function that makes an encoder: for `"encoder": {"type": "own", "name": name, "options": {...}}`.

    It is called as function(shape, embedding_dim=..., init_seed=..., dropout_seed=..., **options), with those of the arguments
    that it takes, and returns a Keras model from (batch, *shape) to (batch, embedding_dim).
    """
    return _registers("encoder", name)


def register_mask(name: str) -> Callable[[Made], Made]:
    """Decorator of a function (image_size, num_encoders, seed, unit_areas, ...) -> `ReceptiveFields`: for `"masks": {"scheme":
    "own", "name": name, "options": {...}}`.

    `image_size` is (height, width), or (1, d) of features and recordings, and `unit_areas` the brain area of each unit.
    """
    return _registers("mask", name)


def register_graph(name: str) -> Callable[[Made], Made]:
    """Decorator of a function (num_encoders, seed, ...) -> `InteractionGraph`: for `"graph": {"family": "own", "name": name,
    "options": {...}}`."""
    return _registers("graph", name)


def register_source(name: str) -> Callable[[Made], Made]:
    """Decorator of a function (...) -> `closer_tf.data.Source`: for `"dataset": {"name": "own", "source": name, "options":
    {...}}`."""
    return _registers("source", name)


def register_objective(
    name: str, title: str | None = None, colour: str = "#8c564b", learns_from: Iterable[str] = ("encoders",)
) -> Callable[[Made], Made]:
    """Decorator of a class derived from `closer_tf.Objective`, or of a function that makes one: for `"condition": name`.

    It gets those of `temperature`, `graph` and `stop_gradient` (from the config's `objective`) and `compute` that it takes;
    further arguments come from `objective.options`.

    Args:
        name: the condition's name.
        title: what it is called in pictures and tables. Default: the name.
        colour: its colour there, '#rrggbb'.
        learns_from: 'encoders', 'past' (windows of consecutive bins) or 'labels', or several of them: what the data must have.
    """

    def register(make: Made) -> Made:
        keys = tuple(key for key in OBJECTIVE_KEYS if key in inspect.signature(make).parameters)

        def loss(compute, options, **given):
            return call("objective", name, {"compute": compute, **given}, options)

        past = "past" in learns_from
        row = Condition(title or name, colour, "encoders", tuple(learns_from), (*keys, "options"), loss, windows=past)
        _registers("objective", name)(make)
        CONDITIONS[name] = row
        return make

    return register


def _registers(kind, name):
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"register_{kind}: expected a name of letters, digits and underscores, found {name!r}")
    if kind == "objective" and name in CONDITIONS and name not in REGISTERED[kind]:
        raise ValueError(f"register_objective: there is a condition '{name}' already; choose another name")

    def register(make):
        REGISTERED[kind][name] = make
        return make

    return register


def check_name(kind: str, name: str) -> str:
    """The name of a registered part, as it is.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in REGISTERED[kind]:
        known = f"; expected one of {', '.join(REGISTERED[kind])}" if REGISTERED[kind] else ""
        raise ValueError(f"no {kind} '{name}' is registered here{known}. {HINT}")
    return name


def call(kind: str, name: str | None, given: Mapping[str, Any], options: Mapping[str, Any], *first: Any) -> Any:
    """Make a registered part.

    Args:
        kind, name: which; the name None stands for what was made in Python.
        given: arguments that it gets if it takes them.
        options: further arguments, from a config.
        *first: arguments that come before these.

    Raises:
        ValueError: there is none of that name, or it does not take these options, or needs others.
    """
    if name is None:
        raise ValueError(f"the {kind} was made in Python; closer_tf.train_model, called with it, goes on with the run")
    make = REGISTERED[kind][check_name(kind, name)]
    parameters = inspect.signature(make).parameters
    named = list(parameters.values())[len(first) :]
    takes = [each.name for each in named if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    arguments = {key: value for key, value in given.items() if key in takes}
    own = [key for key in takes if key not in given]
    unknown = [key for key in options if key not in own]
    if unknown:
        raise ValueError(f"{kind} '{name}' has no option '{unknown[0]}'; expected some of {', '.join(own) or 'none'}")
    missing = [key for key in own if parameters[key].default is inspect.Parameter.empty and key not in options]
    if missing:
        raise ValueError(f"{kind} '{name}' needs the option '{missing[0]}', which is absent")
    return make(*first, **arguments, **options)
