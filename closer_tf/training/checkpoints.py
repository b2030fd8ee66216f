"""Checkpoints: everything a training needs to go on exactly where it was.

A checkpoint is one .npz file of plain arrays: every variable of the model (weights, the state of every random seed
generator) and of the optimizer, in their fixed order; a JSON text with the epoch, the history, the config's digest and the
versions; and a SHA-256 over all of that. It is written aside and moved into place, so that it is complete or not there.

Two more folders of a run have files that are named and read as checkpoints are: `weights`, the model alone after the epochs at
which the run is read out (`readout.at_epochs`); and `best`, the state after the epoch with the best validation loss, for
`training.keep: 'best'`. Of the latter there is one for each checkpoint that a training may go on from, unless that checkpoint
is of the best epoch itself: a training that still improves writes none. What was the best since the last checkpoint is held in
memory; a process that ends before the next one trains these epochs again.

Which epoch was the best, whether a training has passed it, and what is to be said of that then, follow from the history alone.
"""

import hashlib
import io
import json
import math
import os
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from closer_tf.common.backend import versions
from closer_tf.common.files import make_folder, memory, read_npz, remove, write_atomically
from closer_tf.errors import CloserWarning, ConfigError, DataError, DivergedError, RunError

PATTERN = "epoch-{:05d}-step-{:06d}.npz"
LONG, SHARE = 10, 0.2  # epochs without a better val_loss that are worth a word: so many, and this share of all
LOST = 0.05  # of what val_loss had fallen since the first epoch, the share that has to be lost again


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
    about["dtypes"] = {k: value.dtype.name for k, value in enumerate(values) if value.dtype.kind == "V"}  # such as bfloat16
    plain = [value.view(f"u{value.dtype.itemsize}") if k in about["dtypes"] else value for k, value in enumerate(values)]
    stored = {"about": np.array(json.dumps(about))}
    stored |= {f"variable_{k:05d}": value for k, value in enumerate(plain)}
    buffer = io.BytesIO()
    np.savez(buffer, checksum=np.array(_checksum(stored)), **stored)
    write_atomically(folder / PATTERN.format(moment.epoch, moment.step), buffer.getbuffer())


def checkpoint_files(folder):
    """The checkpoint files in a folder, latest first."""
    return sorted(Path(folder).glob("epoch-*.npz"), key=lambda path: (moment_of(path.name), path.name), reverse=True)


def moment_of(name):
    """(epochs done, steps of the next) of a checkpoint file's name; (-1, -1) for another name."""
    found = re.fullmatch(r"epoch-(\d+)-step-(\d+)\.npz", name)
    return (int(found[1]), int(found[2])) if found else (-1, -1)


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
        stored = read_npz(path, limit=memory())  # what could be trained can be read again
        if "about" in stored and "checksum" not in stored:
            raise RunError(f"{path}: a checkpoint without a checksum, from before closer_tf wrote them; train in a new folder")
        if str(stored.pop("checksum")) != _checksum(stored):
            raise ValueError("its content does not match its checksum")
        about = json.loads(str(stored["about"]))
        arrays = [stored[name] for name in sorted(stored) if name.startswith("variable_")]
        for k, name in about.pop("dtypes", {}).items():
            arrays[int(k)] = arrays[int(k)].view(_dtype(name))
        return Checkpoint(**about, arrays=arrays)
    except (DataError, KeyError, TypeError, ValueError, RecursionError) as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise RunError(f"{path}: not a readable checkpoint: {reason}") from error


def _dtype(name):
    """The dtype that TensorFlow and JAX have beside NumPy's, such as bfloat16."""
    import ml_dtypes

    if name not in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        raise ValueError(f"unknown kind of numbers {name!r}")
    return np.dtype(getattr(ml_dtypes, name))


def set_later_aside(folder, epoch, step):
    """Put away checkpoints later than the moment that a training goes on from, which under their names would count as the
    latest, and the new ones as old. Damaged ones are renamed; others are of an attempt that it went back from, and removed,
    since these epochs are trained again.

    Args:
        folder: where checkpoints are.
        epoch, step: the moment.
    """
    for path in checkpoint_files(folder):
        if moment_of(path.name) > (epoch, step):
            try:
                load_checkpoint(path)
                remove(path)
            except RunError:
                os.replace(path, path.with_name(f"aside-{path.name}"))


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
    arrays = checkpoint.arrays[: len(variables)]
    if len(arrays) == len(variables):  # the states of random seeds, which reading out does not use, differ by backend
        kinds = [np.asarray(variable).dtype for variable in variables]
        both = [array.dtype.kind in "iu" and kind.kind in "iu" for array, kind in zip(arrays, kinds)]
        arrays = [array.astype(kind) if cast else array for array, kind, cast in zip(arrays, kinds, both)]
    _assign(variables, arrays)


def weights_checksum(model):
    """SHA-256 (hex) of the model's variables as they are now."""
    return _checksum({f"{k:05d}": np.asarray(variable) for k, variable in enumerate(_model_variables(model))})


def _assign(variables, arrays):
    expected = [(tuple(variable.shape), np.asarray(variable).dtype) for variable in variables]
    if [(array.shape, array.dtype) for array in arrays] != expected:
        raise RunError("the checkpoint does not fit the model: another architecture, version or Keras backend wrote it")
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


def begin_weights(run, config, epochs):
    """Bring the folder to the moment that a training begins at or goes on from.

    What is there of later epochs is of an attempt that the run went back from; it is removed, since these epochs are trained
    again. Checkpoints of epochs that are asked for only now are copied before they make room for later ones; a damaged one is
    not.

    Args:
        run: `RunFolder`.
        config: resolved `RunConfig`.
        epochs: epochs done.
    """
    for path in checkpoint_files(run.weights):
        if moment_of(path.name) > (epochs, 0):
            remove(path)
    for epoch in config.read_out_at():
        kept, checkpoint = (folder / PATTERN.format(epoch, 0) for folder in (run.weights, run.checkpoints))
        if epoch <= epochs and checkpoint.exists() and not kept.exists():
            try:
                load_checkpoint(checkpoint)
            except RunError as error:
                warnings.warn(f"{error}; its weights, which are to be read out, are not kept", CloserWarning, stacklevel=2)
            else:
                make_folder(run.weights)
                write_atomically(kept, checkpoint.read_bytes())


def keep_weights(run, config, model, epochs, history):
    """Write the weights after an epoch, if it is one to read out at.

    Args:
        run, config: as for `begin_weights`.
        model: the compiled model in training.
        epochs: epochs done.
        history: one row for each.

    Raises:
        DivergedError: a weight is not finite; nothing is written.
        RunError: the file cannot be written.
    """
    if epochs in config.read_out_at():
        save_weights(run.weights, model, Checkpoint(epochs, 0, history, config.digest(), arrays=[]))


def load_weights(run, config, epoch):
    """The weights after an epoch of a run's training.

    Args:
        run, config: as for `begin_weights`.
        epoch: whole epochs done.

    Returns:
        `Checkpoint`, or None: there is none. A file that is damaged or of another training is left out with a warning.
    """
    for folder in (run.weights, run.checkpoints):
        path = folder / PATTERN.format(epoch, 0)
        if not path.exists():
            continue
        try:
            found = load_checkpoint(path)
            if (found.epoch, found.step, found.digest) != (epoch, 0, run.digest_at(config, epoch)):
                raise RunError(f"{path}: not of this training after {epoch} epochs: of another config or learning rate")
            return found
        except RunError as error:
            warnings.warn(f"{error}; left aside", CloserWarning, stacklevel=2)
    return None


def best_epoch(history):
    """The row of the lowest validation loss, of equal ones the first; None where there is no validation loss.

    Args:
        history: list of dicts, one per epoch done, as `RunFolder.read_history` gives them.
    """
    rows = [row for row in history if math.isfinite(row.get("val_loss", math.nan))]
    return min(rows, key=lambda row: row["val_loss"], default=None)


def has_passed_its_best(history, epochs):
    """Whether the validation loss has not improved for long and lies above its best by more than it wavers.

    Args:
        history: as for `best_epoch`.
        epochs: epochs that the training is to have.
    """
    best = best_epoch(history)
    if best is None or len(history) - best["epoch"] < max(LONG, SHARE * epochs):
        return False
    last = history[-1]["val_loss"]
    return not last - best["val_loss"] <= LOST * (history[0]["val_loss"] - best["val_loss"])  # a loss that is NaN has passed it


def describe_best(history):
    """Where the best epoch of a history that has one lies, in words."""
    best, last = best_epoch(history), history[-1]
    return (
        f"val_loss has not improved since epoch {best['epoch']:.0f}: {best['val_loss']:.4g} there, "
        f"{last['val_loss']:.4g} after epoch {last['epoch']:.0f}"
    )


def advice_on_it(config, history):
    """What to do about a training that has passed its best, in words.

    Args:
        config: resolved `RunConfig`.
        history: as for `best_epoch`.
    """
    fewer = f"--set training.epochs={best_epoch(history)['epoch']:.0f}"
    if config.training.keep == "best":
        return f"what is kept and read out is the best epoch; {fewer} in a new folder gets there without the rest"
    return f"in a new folder, keep the best epoch (--set training.keep=best), or train for fewer ({fewer})"


def check_keep(config, data):
    """Refuse to keep the best epoch where there is nothing to know it by.

    Args:
        config: resolved `RunConfig`.
        data: `Splits`.

    Raises:
        ConfigError: the training loop has no validation samples, or a single one, whose loss says nothing.
    """
    if config.training.keep == "best" and config.trains and len(data.validation) < 2:
        raise ConfigError(
            f"training.keep: 'best' is the epoch with the lowest validation loss, and {data.name} has "
            f"{len(data.validation)} validation samples here; expected 2 at least. Set training.validation_fraction above "
            f"{config.training.validation_fraction:g} where the data has no validation set of its own, or keep 'last'"
        )


def kept_epoch(config, history):
    """The epoch whose weights are what a run's training gives, where that is not simply its last moment: None otherwise.

    Args:
        config: resolved `RunConfig`.
        history: as for `best_epoch`, up to where the training is.
    """
    if config.training.keep != "best" or not config.trains:
        return None
    best = best_epoch(history)
    return best and int(best["epoch"])


def load_best(run, config, epoch):
    """The state of the training after an epoch that was the best.

    Args:
        run: `RunFolder`.
        config: resolved `RunConfig`.
        epoch: int.

    Returns:
        `Checkpoint`.

    Raises:
        RunError: it is not there, damaged, or of another run.
    """
    name = PATTERN.format(epoch, 0)
    there = [folder / name for folder in (run.best, run.checkpoints) if (folder / name).exists()]
    if not there:
        raise RunError(
            f"{run.best / name}: absent, and with it the weights of the best epoch so far; train in a new folder with --run-dir"
        )
    for path in there:
        try:
            found = load_checkpoint(path)
        except RunError:
            if path == there[-1]:
                raise
            continue
        if found.digest not in run.digests(config):
            raise RunError(f"{path}: written by a run of another config")
        return found


class BestWeights:
    """Keeps the state after the best epoch of a run while it trains.

    Args:
        run: `RunFolder`.
        config: resolved `RunConfig`.
        start: the `Checkpoint` that the training goes on from. Files of later epochs are of an attempt that the run went back
            from, and removed.

    Raises:
        RunError: the weights of the best epoch so far are not there, or damaged.
    """

    def __init__(self, run, config, start):
        self.run, self.config = run, config
        self.held = None  # (Checkpoint with arrays, None) of the best epoch since the last checkpoint
        for path in checkpoint_files(run.best):
            if moment_of(path.name) > (start.epoch, 0):
                remove(path)
        best = best_epoch(start.history)
        if best is not None:
            load_best(run, config, int(best["epoch"]))

    def hold(self, model, history):
        """Hold the state of a model in memory if the last epoch of the history is the best.

        Raises:
            DivergedError: a weight is not finite.
        """
        if best_epoch(history) is history[-1]:
            self.held = Checkpoint(len(history), 0, list(history), self.config.digest(), arrays=snapshot(model))

    def write(self, history, step):
        """Write what a checkpoint of this moment needs beside it; before that checkpoint.

        Args:
            history: rows of the epochs done.
            step: steps done of the next.

        Raises:
            RunError: it cannot be written.
        """
        best = best_epoch(history)
        if best is None or (best is history[-1] and not step):  # the checkpoint itself will be it
            return
        path = self.run.best / PATTERN.format(int(best["epoch"]), 0)
        if path.exists():
            return
        if self.held is not None and self.held.epoch == best["epoch"]:
            write_snapshot(self.run.best, self.held)
        else:
            make_folder(self.run.best)
            write_atomically(path, (self.run.checkpoints / path.name).read_bytes())

    def prune(self, history):
        """Remove what no checkpoint needs any more; after the old ones are gone."""
        moments = [moment_of(path.name) for path in checkpoint_files(self.run.checkpoints)]
        best = [best_epoch(history[:epoch]) for epoch, _ in moments]
        needed = {PATTERN.format(int(row["epoch"]), 0) for row in best if row is not None}
        for path in checkpoint_files(self.run.best):
            if path.name not in needed:
                remove(path)
