"""The ensemble that a run trained, as its folder holds it."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from closer_tf.errors import RunError
from closer_tf.training.best_epoch import kept_epoch
from closer_tf.training.best_epoch import load as load_best

COMPARED = 64  # stimuli on which a saved ensemble has to do what its config says


@dataclass(frozen=True, eq=False)
class Trained:
    """A run's ensemble with its latest weights.

    Args:
        ensemble: `CLoSeR` model from stimuli to embeddings.
        model: the compiled model to train, of which the ensemble is the whole or a part; None where no weights are there
            that it could take.
        epochs: whole epochs that it was trained.
        step: steps of the next one.
        untrained: the same ensemble at its initialisation; None where the config can make it.
        kept: the epoch whose weights it has, where `training.keep` chose one; None: those of the moment above.
    """

    ensemble: Any
    model: Any
    epochs: int
    step: int
    untrained: Any = None
    kept: int | None = None

    @property
    def moment(self):
        """(epochs, steps of the next) after which the ensemble had its weights."""
        return (self.epochs, self.step) if self.kept is None else (self.kept, 0)


def trained_ensemble(run, config, data):
    """The run's ensemble with the weights that its training gives: those of the last checkpoint, or of the best epoch so far
    (`training.keep`), or where there is no checkpoint of `ensemble.keras`.

    Returns:
        (ensemble, epochs, step): `CLoSeR` model from stimuli to embeddings, and after how much training it had these weights:
        whole epochs, and steps of the next one.

    Raises:
        RunError: the weights cannot be read, are not of this config, or it is not clear how long they were trained.
    """
    found = load_trained(run, config, data)
    return found.ensemble, *found.moment


def load_trained(run, config, data):
    """As `trained_ensemble`, as a `Trained`."""
    from closer_tf.training.checkpoints import latest_checkpoint, restore_checkpoint
    from closer_tf.training.experiment import make_ensemble, make_training_model

    ensemble, model = make_ensemble(config, run.load_masks(), data), None
    checkpoint = latest_checkpoint(run.checkpoints, run.digests(config))
    if checkpoint is not None or config.read_out_at():
        model = make_training_model(config, ensemble, len(data.label_names))
    if checkpoint is not None:
        restore_checkpoint(model, checkpoint)
        return with_kept_weights(Trained(ensemble, model, checkpoint.epoch, checkpoint.step), run, config)
    if not config.trains or not run.ensemble_file.exists():
        return Trained(ensemble, model, 0, 0)
    saved = run.load_ensemble(compiled=True)
    _take_weights(ensemble, saved, run, data.train.inputs[:COMPARED])
    epochs = _epochs_trained(saved, run, config, data)
    return Trained(ensemble, model, epochs, 0, kept=kept_epoch(config, run.read_history()))


def with_kept_weights(trained, run, config):
    """The same with the weights of the best epoch so far, where `training.keep` asks for them and there is one.

    Args:
        trained: `Trained`, with the weights of its last moment, and a model.
        run: `RunFolder`.
        config: resolved `RunConfig`.

    Raises:
        RunError: these weights are not there, or damaged.
    """
    from closer_tf.training.checkpoints import restore_checkpoint

    kept = kept_epoch(config, run.read_history()[: trained.epochs])
    if kept is None:
        return trained
    restore_checkpoint(trained.model, load_best(run, config, kept))
    return replace(trained, kept=kept)


def _take_weights(ensemble, saved, run, stimuli):
    """Give an ensemble the weights of a saved one, which has to do the same."""
    expected, found = ([tuple(weight.shape) for weight in model.weights] for model in (ensemble, saved))
    if found != expected or saved.output_shape != ensemble.output_shape:
        raise RunError(
            f"{run.ensemble_file}: not an ensemble of {run.config_file.name}: expected {len(expected)} weights, embeddings "
            f"{ensemble.output_shape[1:]}; found {len(found)} weights, embeddings {saved.output_shape[1:]}"
            + _first_difference(expected, found)
        )
    ensemble.set_weights(saved.get_weights())
    ours, theirs = (model.predict(stimuli, batch_size=len(stimuli), verbose=0) for model in (ensemble, saved))
    if not np.allclose(ours, theirs, rtol=0, atol=1e-3 * np.abs(theirs).max()):
        raise RunError(
            f"{run.ensemble_file}: its weights fit {run.config_file.name}, but with the masks of {run.masks_file.name} and the "
            "config's input scale and encoders they give other embeddings than the file itself: it is of another run"
        )


def _first_difference(expected, found):
    pairs = [(a, b) for a, b in zip(expected, found) if a != b]
    return f"; first of another shape: expected {pairs[0][0]}, found {pairs[0][1]}" if pairs else ""


def _epochs_trained(saved, run, config, data):
    """Epochs that a saved ensemble was trained: what history.csv says, and its optimizer's steps agree with if it has one."""
    from closer_tf.data.splits import steps_per_epoch

    rows = run.read_history()
    epochs = rows[-1].get("epoch", 0.5) if rows else 0
    if epochs != int(epochs):
        raise RunError(f"{run.history_file}: damaged: its last row has no epoch")
    steps = steps_per_epoch(len(data.train), config.training.batch_size)
    counted = int(saved.optimizer.iterations) if getattr(saved, "optimizer", None) else None
    saved_at = kept_epoch(config, rows) or epochs
    if counted not in (None, saved_at * steps) or (counted is None and not rows and config.training.epochs):
        says = f"says {saved_at:.0f} epochs of {steps} steps" if rows else "is not there"
        counts = f"the optimizer in ensemble.keras counts {counted} steps" if counted is not None else "there is no optimizer"
        raise RunError(
            f"{run.ensemble_file}: trained for how long? {run.history_file.name} {says}, {counts}; bring both from one run"
        )
    if rows:
        by = "history.csv and its optimizer say" if counted is not None else "history.csv says"
        print(f"no checkpoint: reading out {run.ensemble_file}, trained for {epochs:.0f} epochs, as {by}")
    return int(epochs)
