"""A run of a model that was made in Python: what its folder says of it in place of a config that could make it."""

import hashlib
import json
from dataclasses import replace

import keras
import numpy as np

from closer_tf.config.conditions import MADE_IN_PYTHON
from closer_tf.config.reading import as_config
from closer_tf.errors import ConfigError
from closer_tf.nn.ensemble import CLoSeR, receptive_fields_of
from closer_tf.nn.objectives import training_model
from closer_tf.nn.optimizers import Nadam
from closer_tf.training.experiment import check_objective

CHANCE = ("seed", "initializer")  # how keys of a layer's config end that say what its weights begin with


def config_of(model, data, settings):
    """The resolved `RunConfig` of a model's run: sections that only name what was made in Python, with its fingerprint.

    Args:
        model: compiled `CLoSeR` model from stimuli to embeddings.
        data: `Splits`.
        settings: dict of the sections and keys that a caller may choose: `seed`, `description`, `training`, `compute`,
            `readout`.

    Raises:
        ConfigError: a setting cannot be; or the model is not compiled, or no ensemble.
    """
    check_model(model, data)
    if settings["compute"].get("distribution", "none") != "none":
        raise ConfigError("compute.distribution: expected 'none' for a model made in Python")
    _, encoders, width = model.output_shape
    made = {"name": None, "options": {"fingerprint": fingerprint([layer_config(layer) for layer in model.layers])}}
    objective = {
        "objective": type(model.loss).__name__,
        "optimizer": type(model.optimizer).__name__,
        "fingerprint": fingerprint([without_chance(model.loss.get_config()), _optimizer_config(model.optimizer)]),
    }
    return as_config(
        {
            **settings,
            "condition": MADE_IN_PYTHON,
            "num_encoders": encoders,
            "dataset": {"name": "own", "source": None, "options": {"name": data.name}},
            "masks": {"scheme": "own", "name": None},
            "encoder": {"type": "own", "embedding_dim": width, **made},
            "objective": {"options": objective},
            "optimizer": _optimizer_section(model.optimizer),
        }
    )


def check_model(model, data):
    """Refuse what is no compiled ensemble for the data.

    Raises:
        ConfigError: it says what was expected.
    """
    if not isinstance(model, CLoSeR) or isinstance(model.output, dict) or len(model.output_shape) != 3:
        raise ConfigError(
            f"model: expected a CLoSeR model from stimuli to embeddings, as from closer_tf.build_ensemble, found "
            f"{type(model).__name__}; what its objective owns is put around it here, by `training_model`"
        )
    if not getattr(model, "compiled", False):
        raise ConfigError("model: not compiled; call model.compile(optimizer, loss) with its objective first")
    if tuple(model.input_shape[1:]) != tuple(data.input_shape):
        raise ConfigError(f"model: takes stimuli of shape {model.input_shape[1:]}, those of splits have {data.input_shape}")
    try:
        check_objective(model.loss, "model")
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if getattr(model.loss, "needs_previous", False) and not data.windowed:
        raise ConfigError(f"model: its objective needs consecutive bins; the data '{data.name}' has none")


def to_train(model, num_labels, seed):
    """The model to fit: the ensemble with what its objective owns, compiled with an optimizer of its own at step 0.

    Args:
        model: compiled `CLoSeR` model, which shares its weights with what is returned.
        num_labels: number of labels in the data.
        seed: int, for what the objective owns.
    """
    whole = training_model(model.loss, model, num_labels, seed)
    optimizer = type(model.optimizer).from_config(model.optimizer.get_config())
    whole.compile(optimizer, model.loss, jit_compile=model.jit_compile, run_eagerly=model.run_eagerly)
    whole.optimizer.build(whole.trainable_variables)
    return whole


def copy_of(model):
    """A model of the same kind with the same weights, not compiled.

    Raises:
        ConfigError: Keras cannot make it from its config, so that no file of it could be loaded.
    """
    try:
        copy = type(model).from_config(model.get_config())
    except (TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"model: Keras cannot make it again from its config, or load a file of it: {reason}") from None
    copy.set_weights(model.get_weights())
    return copy


def named_fields(model, data):
    """The `ReceptiveFields` that a model was built with, named by brain area where each encoder sees one area's units."""
    fields, areas = receptive_fields_of(model), np.array(data.unit_areas)
    seen = [set(areas[cells]) for cells in fields.indices] if len(areas) else []
    whole = [len(names) == 1 and (areas == min(names)).sum() == len(own) for names, own in zip(seen, fields.indices)]
    return replace(fields, labels=tuple(str(min(names)) for names in seen) if seen and all(whole) else ())


def layer_config(layer):
    """What a layer computes, as plain data: its config without names and seeds, its layers, and the shapes of its weights."""
    inner = [layer_config(each) for each in layer.layers] if isinstance(layer, keras.Model) else None
    config = None if inner else without_chance(layer.get_config())
    return [type(layer).__name__, config, inner, [list(weight.shape) for weight in layer.weights]]


def without_chance(value):
    """Plain data without names and the keys of `CHANCE`, at any depth."""
    if isinstance(value, dict):
        kept = [key for key in value if key not in ("name", "registered_name") and not key.endswith(CHANCE)]
        return {key: without_chance(value[key]) for key in kept}
    return [without_chance(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def fingerprint(content):
    """SHA-256 (hex) of plain data."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _optimizer_config(optimizer):
    """An optimizer's settings without the step size, which the config has, unless that is a schedule."""
    config = without_chance(optimizer.get_config())
    return {key: value for key, value in config.items() if key != "learning_rate" or isinstance(value, dict)}


def _optimizer_section(optimizer):
    """The config's `optimizer`: all settings of `Nadam`, the step size alone of others, and its default of schedules."""
    if isinstance(optimizer, Nadam):
        names = ("learning_rate", "beta_1", "beta_2", "epsilon", "schedule_decay")
        return {name: float(value) for name, value in optimizer.get_config().items() if name in names}
    is_number = isinstance(optimizer._learning_rate, keras.Variable)
    return {"learning_rate": float(np.asarray(optimizer.learning_rate))} if is_number else {}
