"""Train a model that was made in Python: what its run folder says of it in place of a config that could make it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from closer_tf.common.wiring import config_of, described
from closer_tf.config.conditions import MADE_IN_PYTHON
from closer_tf.config.reading import as_config
from closer_tf.errors import ConfigError
from closer_tf.evaluate import check_readout
from closer_tf.train import train_prepared
from closer_tf.training.checkpoints import check_keep
from closer_tf.training.experiment import check_objective, seed_per_encoder
from closer_tf.training.runs import RunFolder

if TYPE_CHECKING:
    import keras

    from closer_tf.data.splits import Splits
    from closer_tf.nn.ensemble import CLoSeR


def train_model(
    model: CLoSeR,
    splits: Splits,
    run_dir: str | os.PathLike,
    training: dict[str, Any] | None = None,
    readout: dict[str, Any] | None = None,
    compute: dict[str, Any] | None = None,
    seed: int = 0,
    description: str = "",
    callbacks: Sequence[keras.callbacks.Callback] = (),
    tensorboard: bool = False,
) -> dict[str, Any]:
    """Train an ensemble that was made in Python, with any encoders and objective, as `train_run` trains one of a config.

    It gets a run folder with checkpoints, history, readout and pictures, which `closer_tf report`, `summary` and `export` take
    like others. Called again with the model and data made anew, it goes on where it stopped, and reads out what is asked for
    now; a model that computes something else is refused.

    Args:
        model: `CLoSeR` model as from `build_ensemble`, at its initialisation, compiled with its optimizer and objective. What
            the objective owns beside it is added here. It holds the trained weights afterwards.
        splits: `Splits`, as from `load_data` or `closer_tf.data.split_source`.
        run_dir: the run folder; made if need be.
        training: dict of the keys of a run config's `training`: `epochs`, `batch_size`, `checkpoint_every`, ...
        readout: dict of the keys of `readout`.
        compute: dict of the keys of `compute`; what concerns the model itself, as its precision, is the model's own.
        seed: int, of the order of samples, the readout, and what the objective owns.
        description: what this run is.
        callbacks, tensorboard: as for `train_run`.

    Returns:
        dict, the content of results.json; as `train_run`.

    Raises:
        ConfigError: the model does not fit the data, or is not compiled, or a setting cannot be; before anything is written.
        RunError, DivergedError, closer_tf.common.command.Interrupted: as `train_run`.
    """
    sections = {"training": training or {}, "readout": readout or {}, "compute": compute or {}}
    config = _config_of(model, splits, {"seed": seed, "description": description, **sections})
    run = RunFolder(run_dir)
    data = splits if getattr(model.loss, "needs_previous", False) else splits.current()
    if run.check(config):
        run.check_data(splits, config)
    if config.readout.after_training:
        check_readout(config, data)
    check_keep(config, data)
    untrained, fields = _copy_of(model), _named_fields(model, data)
    own_seed = seed_per_encoder(config.seeds.initialization, config.num_encoders + 1)[-1]
    whole = _to_train(model, len(data.label_names), own_seed)
    return train_prepared(config, run, data, fields, model, whole, untrained, callbacks=callbacks, tensorboard=tensorboard)


def _config_of(model, data, settings):
    """The resolved `RunConfig` of a model's run: sections that only name what was made in Python, with its fingerprint.

    Args:
        model: compiled `CLoSeR` model from stimuli to embeddings.
        data: `Splits`.
        settings: dict of the sections and keys that a caller may choose: `seed`, `description`, `training`, `compute`,
            `readout`.

    Raises:
        ConfigError: a setting cannot be; or the model is not compiled, or no ensemble; or its objective or optimizer has no
            config.
    """
    _check_model(model, data)
    for what, part in (("objective", model.loss), ("optimizer", model.optimizer)):
        if config_of(part) is None:
            raise ConfigError(
                f"model: its {what} {type(part).__name__} gives no config that can be saved, by which runs are told apart: "
                "expected plain data from its get_config"
            )
    if settings["compute"].get("distribution", "none") != "none":
        raise ConfigError("compute.distribution: expected 'none' for a model made in Python")
    _, encoders, width = model.output_shape
    made = {"name": None, "options": {"fingerprint": _fingerprint(described(model))}}
    objective = {
        "objective": type(model.loss).__name__,
        "optimizer": type(model.optimizer).__name__,
        "fingerprint": _fingerprint([config_of(model.loss), _optimizer_config(model.optimizer)]),
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


def _check_model(model, data):
    """Refuse what is no compiled ensemble for the data.

    Raises:
        ConfigError: it says what was expected.
    """
    from closer_tf.nn.ensemble import CLoSeR

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
    if _inner(model.optimizer).use_ema:
        raise ConfigError(
            "model: its optimizer has use_ema, whose averages Keras puts in place of the weights whenever it stops; a run that "
            "goes on after a stop could not be the same. Expected an optimizer without; with averages train by model.fit"
        )
    if getattr(model.loss, "needs_previous", False) and not data.windowed:
        raise ConfigError(f"model: its objective needs consecutive bins; the data '{data.name}' has none")


def _to_train(model, num_labels, seed):
    """The model to fit: the ensemble with what its objective owns, compiled with an optimizer of its own at step 0.

    Args:
        model: compiled `CLoSeR` model, which shares its weights with what is returned.
        num_labels: number of labels in the data.
        seed: int, for what the objective owns.
    """
    from closer_tf.nn.objectives import training_model

    whole = training_model(model.loss, model, num_labels, seed)
    optimizer = type(model.optimizer).from_config(model.optimizer.get_config())
    whole.compile(optimizer, model.loss, jit_compile=model.jit_compile, run_eagerly=model.run_eagerly)
    whole.optimizer.build(whole.trainable_variables)
    return whole


def _copy_of(model):
    """A model of the same kind with the same weights, not compiled.

    Raises:
        ConfigError: Keras cannot make it from its config, so that no file of it could be loaded.
    """
    try:
        copy = type(model).from_config(model.get_config())
    except (NotImplementedError, TypeError, ValueError) as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ConfigError(f"model: Keras cannot make it again from its config, or load a file of it: {reason}") from None
    copy.set_weights(model.get_weights())
    for layer in copy._flatten_layers():
        if hasattr(layer, "finalize_state"):  # of one that was adapted to data: what it computes with follows from its weights
            layer.finalize_state()
    return copy


def _named_fields(model, data):
    """The `ReceptiveFields` that a model was built with, named by brain area where each encoder sees one area's units."""
    from closer_tf.nn.ensemble import receptive_fields_of

    fields, areas = receptive_fields_of(model), np.array(data.unit_areas)
    seen = [set(areas[cells]) for cells in fields.indices] if len(areas) else []
    whole = [len(names) == 1 and (areas == min(names)).sum() == len(own) for names, own in zip(seen, fields.indices)]
    return replace(fields, labels=tuple(str(min(names)) for names in seen) if seen and all(whole) else ())


def _fingerprint(content):
    """SHA-256 (hex) of plain data."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _inner(optimizer):
    """The optimizer itself, where one that scales the loss is around it."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def _optimizer_config(optimizer):
    """An optimizer's settings without the step size, which the config has, unless that is a schedule."""
    config = config_of(optimizer)
    return {key: value for key, value in config.items() if key != "learning_rate" or isinstance(value, dict)}


def _optimizer_section(optimizer):
    """The config's `optimizer`: all settings of `Nadam`, the step size alone of others, and its default of schedules."""
    import keras

    from closer_tf.nn.optimizers import Nadam

    optimizer = _inner(optimizer)
    is_number = isinstance(optimizer._learning_rate, keras.Variable)
    if isinstance(optimizer, Nadam):
        names = ("beta_1", "beta_2", "epsilon", "schedule_decay") + ("learning_rate",) * is_number
        return {name: float(value) for name, value in optimizer.get_config().items() if name in names}
    return {"learning_rate": float(np.asarray(optimizer.learning_rate))} if is_number else {}
