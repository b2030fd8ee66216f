"""The epoch with the best validation loss: which it is, whether it lies long ago, and its weights for `training.keep: 'best'`.

The weights lie in the run folder's `best`, as checkpoints that are named and read as all others. There is one for each
checkpoint that a training may go on from, unless that checkpoint is of the best epoch itself: a training that still improves
writes none. What was the best since the last checkpoint is held in memory; a process that ends before the next one trains
these epochs again.
"""

import math

from closer_tf.common.files import make_folder, remove, write_atomically
from closer_tf.errors import ConfigError, RunError
from closer_tf.training.checkpoints import PATTERN, Checkpoint, checkpoint_files, load_checkpoint, snapshot, write_snapshot

LONG, SHARE = 10, 0.2  # epochs without a better val_loss that are worth a word: so many, and this share of all
LOST = 0.05  # of what val_loss had fallen since the first epoch, the share that has to be lost again


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


def describe(history):
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


def load(run, config, epoch):
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
    found = load_checkpoint(there[0])
    if found.digest not in run.digests(config):
        raise RunError(f"{there[0]}: written by a run of another config")
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
            if path.name > PATTERN.format(start.epoch, 0):
                remove(path)
        best = best_epoch(start.history)
        if best is not None:
            load(run, config, int(best["epoch"]))

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
        moments = [int(path.name[6:11]) for path in checkpoint_files(self.run.checkpoints)]
        best = [best_epoch(history[:epoch]) for epoch in moments]
        needed = {PATTERN.format(int(row["epoch"]), 0) for row in best if row is not None}
        for path in checkpoint_files(self.run.best):
            if path.name not in needed:
                remove(path)
