"""Checkpoints: everything a training needs to go on exactly where it was.

A checkpoint is one .npz file of plain arrays: every variable of the model (weights, the state of every random seed
generator) and of the optimizer, in their fixed order, and a JSON text with the epoch, the history and the config's digest.
It is written aside and moved into place, so that it is complete or not there.
"""

import io
import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from closer_tf.data.npz import read_npz
from closer_tf.errors import DataError, RunError
from closer_tf.files import write_atomically

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
    """

    epoch: int
    step: int
    history: list
    digest: str
    arrays: list


def save_checkpoint(folder, model, moment, keep=2):
    """Write a checkpoint and delete all but the latest `keep`.

    Args:
        folder: where checkpoints are.
        model: a compiled `CLoSeR` model, whose variables are saved.
        moment: `Checkpoint` that says where the training is; its arrays are not used.
        keep: how many stay.
    """
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    buffer = io.BytesIO()
    arrays = {f"variable_{k:05d}": np.asarray(variable) for k, variable in enumerate(_variables(model))}
    about = {key: getattr(moment, key) for key in ("epoch", "step", "history", "digest")}
    np.savez(buffer, about=np.array(json.dumps(about)), **arrays)
    write_atomically(folder / PATTERN.format(moment.epoch, moment.step), buffer.getbuffer())
    for old in checkpoint_files(folder)[keep:]:
        old.unlink(missing_ok=True)


def checkpoint_files(folder):
    """The checkpoint files in a folder, latest first."""
    return sorted(Path(folder).glob("epoch-*.npz"), reverse=True)


def latest_checkpoint(folder, digest):
    """The latest readable checkpoint of a run, or None when there is none yet.

    Raises:
        RunError: there are checkpoints, but none can be read, or they are of another config.
    """
    damaged = []
    for path in checkpoint_files(folder):
        try:
            checkpoint = load_checkpoint(path)
        except RunError as error:
            damaged.append(error)
            continue
        if checkpoint.digest != digest:
            raise RunError(f"{path}: written by a run of another config")
        for error in damaged:
            warnings.warn(f"{error}; going on from {path.name}", stacklevel=2)
        return checkpoint
    if damaged:
        raise damaged[0]
    return None


def load_checkpoint(path):
    """Read a checkpoint.

    Raises:
        RunError: the file is damaged or no checkpoint.
    """
    try:
        stored = read_npz(path)
        about = json.loads(str(stored["about"]))
        arrays = [stored[name] for name in sorted(stored) if name.startswith("variable_")]
        return Checkpoint(**about, arrays=arrays)
    except (DataError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path}: not a readable checkpoint: {error}") from error


def restore_checkpoint(model, checkpoint):
    """Set every variable of a compiled model and its optimizer to a checkpoint's values.

    Raises:
        RunError: the checkpoint is of another model.
    """
    variables = _variables(model)
    shapes = [tuple(variable.shape) for variable in variables]
    if [array.shape for array in checkpoint.arrays] != shapes:
        raise RunError("the checkpoint does not fit the model: it was written by another architecture or version")
    for variable, array in zip(variables, checkpoint.arrays):
        variable.assign(array)


def restore_metrics(model, checkpoint):
    """Set the running means of the epoch to a checkpoint's values, after `fit` has reset them."""
    metrics = _metric_variables(model)
    for variable, array in zip(metrics, checkpoint.arrays[-len(metrics) :]):
        variable.assign(array)


def _variables(model):
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    metrics = _metric_variables(model)
    apart = {id(variable) for variable in metrics}
    own = [variable for variable in model.variables if id(variable) not in apart]
    return [*own, *model.optimizer.variables, *metrics]


def _metric_variables(model):
    return [variable for metric in model.metrics for variable in metric.variables]
