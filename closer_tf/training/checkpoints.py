"""Checkpoints: everything a training needs to go on exactly where it was.

A checkpoint is one .npz file of plain arrays: every variable of the model (weights, the state of every random seed
generator) and of the optimizer, in their fixed order; a JSON text with the epoch, the history, the config's digest and the
versions; and a SHA-256 over all of that. It is written aside and moved into place, so that it is complete or not there.
"""

import hashlib
import io
import json
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from closer_tf.common.files import make_folder, remove, write_atomically
from closer_tf.common.npz import read_npz
from closer_tf.errors import CloserWarning, DataError, DivergedError, RunError
from closer_tf.versions import versions

PATTERN = "epoch-{:05d}-step-{:06d}.npz"


@dataclass(frozen=True)
class Checkpoint:
    """A moment of a training.

    Args:
        epoch: epochs done.
        step: steps done of the epoch after those.
        history: list of dicts, one row per epoch done.
        digest: the config's digest.
        arrays: the variables' values, in order.
        versions: dict of library to version, those in use when it was written.
    """

    epoch: int
    step: int
    history: list
    digest: str
    arrays: list
    versions: dict = field(default_factory=versions)

    def __post_init__(self):
        rows = [row["epoch"] for row in self.history]
        if rows != list(range(1, self.epoch + 1)) or self.step < 0:
            raise ValueError(f"a history of epochs {rows} after {self.epoch} epochs and {self.step} steps")


def save_checkpoint(folder, model, moment, keep=2, metrics=None):
    """Write a checkpoint and delete all but the latest `keep`.

    Args:
        folder: where checkpoints are.
        model: a compiled `CLoSeR` model, whose variables are saved.
        moment: `Checkpoint` that says where the training is; its arrays are not used.
        keep: how many stay.
        metrics: values of the running means, from `metric_values`. Default: what they are now.

    Raises:
        DivergedError: a weight is not finite; nothing is written.
        RunError: the checkpoint cannot be written; those before it stay.
    """
    metrics = metric_values(model) if metrics is None else metrics
    _write(folder, moment, _state_variables(model), metrics)
    for old in checkpoint_files(folder)[keep:]:
        remove(old)


def save_weights(folder, model, moment):
    """Write a checkpoint of the model alone, without the optimizer: enough to read out, a third of the size.

    Args:
        folder, model, moment: as for `save_checkpoint`.

    Raises:
        DivergedError, RunError: as for `save_checkpoint`.
    """
    _write(folder, moment, _model_variables(model))


def snapshot(model):
    """What a checkpoint holds of a compiled model as it is now, as a list of arrays of their own.

    Raises:
        DivergedError: a weight is not finite.
    """
    return [value.copy() for value in _finite(_state_variables(model))] + metric_values(model)


def write_snapshot(folder, moment):
    """Write a `Checkpoint` with its arrays, as from `snapshot`.

    Raises:
        RunError: it cannot be written.
    """
    _store(folder, moment, moment.arrays)


def _write(folder, moment, state, further=()):
    """Write the values of variables, which have to be finite, and further arrays."""
    _store(folder, moment, [*_finite(state), *further])


def _finite(variables):
    """The values of variables, as a list of arrays."""
    values = [np.asarray(variable) for variable in variables]
    for variable, value in zip(variables, values):
        if not np.isfinite(value).all():
            raise DivergedError(f"{variable.path} holds values that are not finite")
    return values


def _store(folder, moment, values):
    folder = Path(folder)
    make_folder(folder)
    about = {key: getattr(moment, key) for key in ("epoch", "step", "history", "digest", "versions")}
    stored = {"about": np.array(json.dumps(about))}
    stored |= {f"variable_{k:05d}": value for k, value in enumerate(values)}
    buffer = io.BytesIO()
    np.savez(buffer, checksum=np.array(_checksum(stored)), **stored)
    write_atomically(folder / PATTERN.format(moment.epoch, moment.step), buffer.getbuffer())


def checkpoint_files(folder):
    """The checkpoint files in a folder, latest first."""
    return sorted(Path(folder).glob("epoch-*.npz"), reverse=True)


def latest_checkpoint(folder, digests):
    """The latest readable checkpoint of a run, or None when there is none yet.

    Args:
        folder: where checkpoints are.
        digests: the digest of the run's config, or all digests it had (`RunFolder.digests`).

    Raises:
        RunError: there are checkpoints, but none can be read, or they are of another config.
    """
    digests = [digests] if isinstance(digests, str) else digests
    damaged = []
    for path in checkpoint_files(folder):
        try:
            checkpoint = load_checkpoint(path)
        except RunError as error:
            damaged.append(error)
            continue
        if checkpoint.digest not in digests:
            raise RunError(f"{path}: written by a run of another config")
        for error in damaged:
            warnings.warn(f"{error}; going on from {path.name}", CloserWarning, stacklevel=2)
        return checkpoint
    if damaged:
        raise damaged[0]
    return None


def load_checkpoint(path):
    """Read a checkpoint and verify its checksum.

    Raises:
        RunError: the file is damaged or no checkpoint.
    """
    try:
        stored = read_npz(path)
        if "about" in stored and "checksum" not in stored:
            raise RunError(f"{path}: a checkpoint without a checksum, from before closer_tf wrote them; train in a new folder")
        if str(stored.pop("checksum")) != _checksum(stored):
            raise ValueError("its content does not match its checksum")
        about = json.loads(str(stored["about"]))
        arrays = [stored[name] for name in sorted(stored) if name.startswith("variable_")]
        return Checkpoint(**about, arrays=arrays)
    except (DataError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise RunError(f"{path}: not a readable checkpoint: {error}") from error


def restore_checkpoint(model, checkpoint):
    """Set every variable of a compiled model and its optimizer to a checkpoint's values.

    Raises:
        RunError: the checkpoint is of another model.
    """
    _assign([*_state_variables(model), *_metric_variables(model)], checkpoint.arrays)


def restore_weights(model, checkpoint):
    """Set the variables of the model alone, not those of its optimizer, from a checkpoint with or without the optimizer.

    Raises:
        RunError: the checkpoint is of another model.
    """
    variables = _model_variables(model)
    _assign(variables, checkpoint.arrays[: len(variables)])


def weights_checksum(model):
    """SHA-256 (hex) of the model's variables as they are now."""
    return _checksum({f"{k:05d}": np.asarray(variable) for k, variable in enumerate(_model_variables(model))})


def _assign(variables, arrays):
    expected = [(tuple(variable.shape), np.asarray(variable).dtype) for variable in variables]
    if [(array.shape, array.dtype) for array in arrays] != expected:
        raise RunError("the checkpoint does not fit the model: it was written by another architecture or version")
    for variable, array in zip(variables, arrays):
        variable.assign(array)


def restore_metrics(model, checkpoint):
    """Set the running means of the epoch to a checkpoint's values, after `fit` has reset them."""
    metrics = _metric_variables(model)
    for variable, array in zip(metrics, checkpoint.arrays[-len(metrics) :]):
        variable.assign(array)


def metric_values(model):
    """The running means of the epoch, as a list of arrays."""
    return [np.asarray(variable).copy() for variable in _metric_variables(model)]


def _checksum(stored):
    """SHA-256 (hex) over the names, kinds, shapes and values of arrays."""
    digest = hashlib.sha256()
    for name in sorted(stored):
        array = stored[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _state_variables(model):
    """What the training goes on from: the model's and the optimizer's variables, without the running means."""
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    return [*_model_variables(model), *model.optimizer.variables]


def _model_variables(model):
    """The model's weights and the states of its random seed generators, without the running means."""
    apart = {id(variable) for variable in _metric_variables(model)}
    return [variable for variable in model.variables if id(variable) not in apart]


def _metric_variables(model):
    return [variable for metric in model.metrics for variable in metric.variables]
